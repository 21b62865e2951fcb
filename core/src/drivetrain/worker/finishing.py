"""Record, follow up, acknowledge: in that order, each for a whole batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from drivetrain.contract import (
    Delivery,
    Failure,
    GroupProgress,
    Member,
    Outcome,
    Plain,
    RunLease,
    State,
    TaskRecord,
    TooLarge,
    Transition,
    evolve,
)
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.execution import error_text, failure_of
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.publisher import BODY_HEADER, FOLLOWS_HEADER, Publisher, offers
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import Run, RunResult, event_of, marks, shown_failure
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished
from drivetrain.worker.version_mismatch import next_offer_seconds
from drivetrain.workflow.advance import Effect, Failed, Succeeded, advance
from drivetrain.workflow.frames import Invocation, Join

__all__ = ["Finisher"]

logger = get_logger("drivetrain.worker")
#: Tells of the ends of tasks, as in `drivetrain.worker.execution`.
task_logger = get_logger("drivetrain.task")


class Finisher:
    """Settles what has ended. Thread-safe; every step may be repeated without harm."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        publisher: Publisher,
        effect_runner: EffectRunner,
        retrier: Retrier,
        in_flight: InFlight,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._publisher = publisher
        self._effect_runner = effect_runner
        self._retrier = retrier
        self._in_flight = in_flight
        self._largest_value = runtime.backend.capabilities.largest_value_bytes

    def settle(self, endings: Sequence[RunResult]) -> None:
        """See endings through to the acknowledgement of their messages.

        Raises:
            GaveUp: told to stop while a service was away; the messages will be delivered again.
        """
        if not endings:
            return
        for ending in endings:
            if ending.run is not None:
                ending.run.settling = True
        try:
            self._settle(endings)
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - the errors of a stranger's driver too
            if len(endings) > 1:
                for ending in endings:  # one bad ending must not keep the others from being settled
                    self.settle([ending])
            else:
                self._put_aside(endings[0], error)

    def _settle(self, endings: Sequence[RunResult]) -> None:
        self.give_back([ending.run for ending in endings if ending.run is not None and ending.state is State.RECEIVED])
        endings = [ending for ending in endings if ending.state is not State.RECEIVED]
        if any(ending.mismatch for ending in endings):
            endings = self._offer_mismatches(endings)
        self.step("ran", [ending for ending in endings if ending.run is not None])
        settled, progress = self._record(endings)
        self.step("recorded", settled)
        self._notify_observers(settled)
        self._log_successes(settled)
        self._effect_runner.perform(self._effects(settled), progress)
        self._publish_retries([ending for ending in settled if ending.state is State.RETRY])
        self.step("followed_up", settled)
        self._finish_messages(settled)
        self.step("acknowledged", settled)
        self._in_flight.remove(ending.run for ending in endings if ending.run is not None)

    def _put_aside(self, ending: RunResult, error: Exception) -> None:
        """This ending cannot be settled: fail what it leads to, and keep the message for whoever mends the cause."""
        told = marks(ending.invocation)
        logger.error("task %s cannot be settled; its message goes aside", ending.task_id, exc_info=error, extra=told)
        try:
            self._fail(ending, error)
        except GaveUp:
            raise
        except Exception:
            text = "task %s: its message cannot be put aside either; it will come again"
            logger.exception(text, ending.task_id, extra=told)
        self._in_flight.remove([ending.run] if ending.run is not None else [])

    def _fail(self, ending: RunResult, error: Exception) -> None:
        failed = self._failed(ending, error)
        wish = self._transition(failed, self._runtime.clock.now())
        outcome = self._retrier.call("record", lambda: self._runtime.backend.record([wish]))[0]
        if not outcome.applied and (outcome.before is None or not outcome.before.state.terminal):
            return  # another worker has taken it over
        call = failed.invocation.call if outcome.applied else None
        self._effect_runner.perform(advance(failed.invocation.frames, Failed(failed.failure, call)))
        self._dead_letter([(ending.delivery, f"it cannot be settled: {error_text(error)}")])

    def give_back(self, runs: Sequence[Run], *, delay_seconds: float = 0.0) -> None:
        """Return runs unharmed: their lease ends, and their messages may be delivered again."""
        if not runs:
            return
        self._record_given_back(runs)
        deliveries = [run.delivery for run in runs]
        self._retrier.call("release", lambda: self._runtime.broker.release(deliveries, delay_seconds=delay_seconds))
        self._in_flight.remove(runs)

    def _record_given_back(self, runs: Sequence[Run]) -> None:
        now = self._runtime.clock.now()
        wishes = [
            Transition(
                task_id=run.task_id,
                state=State.RECEIVED,
                attempt=run.invocation.attempt,
                at=now,
                worker=self._options.name,
                run=run.id,
                payload=None if run.lone is None else run.lone.before.dump(self._runtime.payloads),
            )
            for run in runs
        ]
        self._retrier.call("give back", lambda: self._runtime.backend.record(wishes))

    def _offer_mismatches(self, endings: Sequence[RunResult]) -> list[RunResult]:
        """Offer what does not fit this worker's version of its task to other workers; the endings that are left."""
        left: list[RunResult] = []
        offered: list[tuple[Run, float]] = []
        for ending in endings:
            delay = self._offer_seconds(ending) if ending.mismatch else None
            if delay is None or ending.run is None:
                left.append(ending)
                continue
            text = "its arguments do not fit this version of the task; offered to other workers in %.1f s: %s"
            logger.warning(text, delay, _message_of(ending), extra=marks(ending.invocation))
            offered.append((ending.run, delay))
        if offered:
            self._record_given_back([run for run, _ in offered])
            self._publisher.offer_again([(run.delivery, delay) for run, delay in offered])
            deliveries = [run.delivery for run, _ in offered]
            self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge(deliveries))
            self._in_flight.remove(run for run, _ in offered)
        return left

    def _offer_seconds(self, ending: RunResult) -> float | None:
        return next_offer_seconds(offers(ending.delivery.message), self._options.version_mismatch_seconds)

    def give_up(self, run: Run) -> None:
        """Return a run whose process died: another may start it now, and the start that came to nothing counts."""
        lease = RunLease(task_id=run.task_id, run=run.id, seconds=0)
        self._retrier.call("give up", lambda: self._runtime.backend.renew([lease]))
        self._retrier.call("release", lambda: self._runtime.broker.release([run.delivery]))
        self._in_flight.remove([run])

    def condemned(self, run: Run, text: str) -> RunResult:
        """The ending of a task that has killed its process too often; ``text`` says what happened."""
        logger.error("task %s goes to the dead letters: %s", run.task_id, text, extra=marks(run.invocation))
        failure = failure_of(run.invocation, None, "drivetrain.WorkerDied", text)
        return RunResult(
            delivery=run.delivery,
            invocation=run.invocation,
            run=run,
            state=State.FAILURE,
            failure=self._runtime.registry.codec.encode(failure),
            error=failure,
            dead_reason=f"crashed: {text}",
        )

    def found(self, delivery: Delivery, invocation: Invocation, record: TaskRecord) -> RunResult:
        """The ending of a delivery whose end is recorded already."""
        payloads = self._runtime.payloads
        ending = RunResult(delivery=delivery, invocation=invocation, state=record.state, recorded=True)
        if record.state is State.RETRY:
            unfinished = Unfinished.load(payloads, record)
            return replace(ending, failure=unfinished.failure, retry_at=unfinished.due)
        plain: Plain = None if record.payload is None else payloads.load(record.payload)
        if record.state is State.SUCCESS:
            return replace(ending, value=plain)
        return replace(ending, failure=plain)

    def failure_of(
        self, invocation: Invocation, error: BaseException | None, kind: str = "", message: str = ""
    ) -> Failure:
        """The failure of an invocation, from an exception or from words."""
        return failure_of(invocation, error, kind, message)

    def step(self, step: str, done: Sequence[Run | RunResult]) -> None:
        """Tell observers of a step of handling deliveries."""
        if done and self._runtime.observers.watches("worker_step"):
            self._runtime.observers.notify("worker_step", step=step, task_ids=[one.task_id for one in done])

    # Record

    def _record(self, endings: Sequence[RunResult]) -> tuple[list[RunResult], dict[Member, GroupProgress]]:
        endings = [self._within_size_limit(ending) for ending in endings] if self._largest_value else endings
        fresh = [ending for ending in endings if not ending.recorded]
        now = self._runtime.clock.now()
        wishes = [self._transition(ending, now) for ending in fresh]
        if not wishes:
            return list(endings), {}
        outcomes = self._retrier.call("record", lambda: self._runtime.backend.record(wishes))
        settled = [ending for ending in endings if ending.recorded]
        progress: dict[Member, GroupProgress] = {}
        for ending, wish, outcome in zip(fresh, wishes, outcomes, strict=True):
            if (truth := self._recorded_result(ending, wish, outcome)) is not None:
                settled.append(truth)
            if outcome.applied and outcome.group is not None and wish.member is not None:
                progress[wish.member] = outcome.group
        return settled, progress

    def _within_size_limit(self, ending: RunResult) -> RunResult:
        """The ending, or the failure that its result is too large for the backend."""
        limit = self._largest_value
        if limit is None or ending.recorded or (size := len(self._payload(ending))) <= limit:
            return ending
        if ending.error is not None:
            short = self._short(ending.error)
            return replace(ending, failure=self._runtime.registry.codec.encode(short), error=short)
        return self._failed(ending, TooLarge(f"the result of task {ending.task_id}", size, limit))

    def _failed(self, ending: RunResult, error: Exception) -> RunResult:
        """The failure that ``ending`` becomes because of ``error``."""
        failure = self._short(failure_of(ending.invocation, error))
        plain = self._runtime.registry.codec.encode(failure)
        return replace(ending, state=State.FAILURE, value=None, failure=plain, error=failure, recorded=False)

    def _short(self, failure: Failure) -> Failure:
        """A failure that the backend certainly takes."""
        most = 1_000_000 if self._largest_value is None else self._largest_value // 32
        if len(failure.message) + len(failure.traceback) + len(repr((failure.args, failure.kwargs))) <= most:
            return failure
        return evolve(
            failure, message=failure.message[: most // 2], traceback=failure.traceback[-most // 2 :], args=(), kwargs={}
        )

    def _recorded_result(self, ending: RunResult, wish: Transition, outcome: Outcome) -> RunResult | None:
        """The ending as the backend knows it; None if another worker has taken over, whose it is to settle."""
        before = outcome.before
        if outcome.applied or before is None:
            return ending
        ours = before.run == wish.run and before.state is wish.state and before.attempt == wish.attempt
        if ours:
            return ending  # written before; only the answer was lost
        if before.state.terminal:
            return replace(self.found(ending.delivery, ending.invocation, before), run=ending.run)
        text = "task %s: another worker has taken it over; what this run did counts no more"
        logger.warning(text, ending.task_id, extra=marks(ending.invocation))
        return None

    def _transition(self, ending: RunResult, now: float) -> Transition:
        call, frames = ending.invocation.call, ending.invocation.frames
        terminal, first = ending.state.terminal, frames[0] if frames else None
        return Transition(
            task_id=call.id,
            state=ending.state,
            attempt=ending.invocation.attempt,
            at=now,
            worker=self._options.name,
            task=call.task,
            run=None if ending.run is None else ending.run.id,
            payload=self._payload(ending),
            retention=self._runtime.kept_seconds(call.retention) if terminal else None,
            member=first.member if terminal and isinstance(first, Join) else None,
        )

    def _payload(self, ending: RunResult) -> bytes:
        dump = self._runtime.payloads.dump
        if ending.state is State.SUCCESS:
            return dump(ending.value)
        if ending.state is State.RETRY:
            unfinished = self._effect_runner.unfinished(ending.invocation, due=ending.retry_at, failure=ending.failure)
            return unfinished.dump(self._runtime.payloads)
        return dump(ending.failure)

    # Follow up

    def _effects(self, endings: Iterable[RunResult]) -> list[Effect]:
        return [effect for ending in endings for effect in self._effects_of(ending)]

    def _effects_of(self, ending: RunResult) -> tuple[Effect, ...]:
        call, frames = ending.invocation.call, ending.invocation.frames
        if ending.state is State.RETRY or not (frames or call.on_success or call.on_error):
            return ()
        if ending.state is State.SUCCESS:
            return advance(frames, Succeeded(call, ending.value))
        return advance(frames, Failed(ending.failure, call, ending.state))

    def _publish_retries(self, endings: Sequence[RunResult]) -> None:
        if not endings:
            return
        now = self._runtime.clock.now()
        self._publisher.publish_messages(
            [
                self._publisher.message(
                    replace(ending.invocation, attempt=ending.invocation.attempt + 1), now, eta=ending.retry_at
                )
                for ending in endings
            ]
        )

    # Acknowledge

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Let go of messages for good, and of what the backend keeps of them."""
        self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge(deliveries))
        self._drop_bodies(deliveries)

    def _finish_messages(self, endings: Sequence[RunResult]) -> None:
        reasons = [_dead_reason(ending) for ending in endings]
        dead = [(one.delivery, reason) for one, reason in zip(endings, reasons, strict=True) if reason is not None]
        done = [one.delivery for one, reason in zip(endings, reasons, strict=True) if reason is None]
        if dead:
            self._dead_letter(dead)
        if done:
            self.acknowledge(done)
        self._let_expire([one for one, reason in zip(endings, reasons, strict=True) if reason is None])

    def _dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        bounded = [(delivery, shortened(reason)) for delivery, reason in letters]
        self._retrier.call("dead-letter", lambda: self._runtime.broker.dead_letter(bounded))

    def _drop_bodies(self, deliveries: Sequence[Delivery]) -> None:
        keys = [key for one in deliveries if (key := one.message.headers.get(BODY_HEADER)) is not None]
        if keys:
            self._retrier.call("drop bodies", lambda: self._runtime.backend.drop_bodies(keys))

    def _let_expire(self, endings: Sequence[RunResult]) -> None:
        """Now that their messages are gone, results need be kept no longer than they are wanted."""
        soon: dict[float, list[str]] = defaultdict(list)
        window = self._runtime.redelivery_window_seconds
        for ending in endings:
            wanted = self._runtime.wanted_seconds(ending.invocation.call.retention)
            if wanted is None or wanted >= window or not ending.state.terminal:
                continue
            if FOLLOWS_HEADER not in ending.delivery.message.headers:
                soon[wanted].append(ending.task_id)
        settle = self._runtime.backend.shorten_retention
        for seconds, task_ids in soon.items():
            self._retrier.call("settle", partial(settle, task_ids, retention_seconds=seconds))

    # Observers

    def _notify_observers(self, endings: Sequence[RunResult]) -> None:
        if not any(map(self._runtime.observers.watches, _HOOKS.values())):
            return
        for ending in endings:
            if not ending.recorded or ending.state is State.CANCELLED:
                self._tell_one(ending)

    def _tell_one(self, ending: RunResult) -> None:
        observers = self._runtime.observers
        hook = _HOOKS[ending.state]
        if not observers.watches(hook):
            return
        event = event_of(ending.invocation, self._options.name)
        failure = None if ending.error is None else shown_failure(ending.error)
        if ending.state is State.SUCCESS:
            observers.notify(hook, event=event, run_seconds=ending.run_seconds)
        elif ending.state is State.FAILURE:
            observers.notify(hook, event=event, failure=failure)
        elif ending.state is State.RETRY:
            delay = (ending.retry_at or 0.0) - self._runtime.clock.now()
            observers.notify(hook, event=event, failure=failure, delay_seconds=max(0.0, delay))
        else:
            observers.notify(hook, event=event)

    def _log_successes(self, endings: Sequence[RunResult]) -> None:
        if not self._options.log_successes:
            return
        for ending in endings:
            if ending.state is State.SUCCESS and not ending.recorded:
                task_logger.info("succeeded in %.3f s", ending.run_seconds, extra=marks(ending.invocation))


_HOOKS = {
    State.SUCCESS: "task_succeeded",
    State.FAILURE: "task_failed",
    State.RETRY: "task_retrying",
    State.CANCELLED: "task_cancelled",
    State.EXPIRED: "task_expired",
}


def _message_of(ending: RunResult) -> str:
    return "" if ending.error is None else shortened(ending.error.message)


def _described(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}"


def _dead_reason(ending: RunResult) -> str | None:
    """Why the message of this ending goes to the dead letters; None: it does not."""
    if ending.dead_reason is None and ending.state is State.FAILURE and ending.invocation.call.dead_letter:
        return "finally failed" if ending.error is None else f"finally failed: {_described(ending.error)}"
    return ending.dead_reason
