"""Finishing: records the results of runs, performs what follows, acknowledges messages; each step for a batch."""

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
from drivetrain.worker.run import Run, RunResult, event_of, log_extra, shown_failure
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.unfinished import Unfinished
from drivetrain.worker.version_mismatch import next_offer_seconds
from drivetrain.workflow.advance import Effect, Failed, Succeeded, advance
from drivetrain.workflow.frames import Invocation, Join

__all__ = ["Finisher"]

logger = get_logger("drivetrain.worker")
#: Logs the ends of tasks, as `drivetrain.worker.execution` does.
task_logger = get_logger("drivetrain.task")


class Finisher:
    """Settles the results of runs. Thread-safe; every step may be repeated without harm."""

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

    def settle(self, results: Sequence[RunResult]) -> None:
        """Record results, perform what follows, and acknowledge their messages.

        Raises:
            GaveUp: the worker stops while a service is unavailable; the messages will be delivered again.
        """
        if not results:
            return
        for result in results:
            if result.run is not None:
                result.run.settling = True
        try:
            self._settle(results)
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - a third-party driver may raise anything; it is logged and the message dead-lettered
            if len(results) > 1:
                for result in results:  # one result that cannot be settled must not block the others
                    self.settle([result])
            else:
                self._dead_letter_unsettled(results[0], error)

    def _settle(self, results: Sequence[RunResult]) -> None:
        self.give_back([result.run for result in results if result.run is not None and result.state is State.RECEIVED])
        results = [result for result in results if result.state is not State.RECEIVED]
        if any(result.mismatch for result in results):
            results = self._offer_mismatches(results)
        self.step("ran", [result for result in results if result.run is not None])
        settled, progress = self._record(results)
        self.step("recorded", settled)
        self._notify_observers(settled)
        self._log_successes(settled)
        self._effect_runner.perform(self._effects(settled), progress)
        self._publish_retries([result for result in settled if result.state is State.RETRY])
        self.step("followed_up", settled)
        self._finish_messages(settled)
        self.step("acknowledged", settled)
        self._in_flight.remove(result.run for result in results if result.run is not None)

    def _dead_letter_unsettled(self, result: RunResult, error: Exception) -> None:
        """Fail what depends on a result that cannot be settled, and dead-letter its message for an operator."""
        extra = log_extra(result.invocation)
        logger.error(
            "task %s cannot be settled; moving its message to the dead letters",
            result.task_id,
            exc_info=error,
            extra=extra,
        )
        try:
            self._fail(result, error)
        except GaveUp:
            raise
        except Exception:  # both failed; the lease ends, and another worker repeats the task
            text = "task %s: its message cannot be moved to the dead letters; it will be delivered again"
            logger.exception(text, result.task_id, extra=extra)
        self._in_flight.remove([result.run] if result.run is not None else [])

    def _fail(self, result: RunResult, error: Exception) -> None:
        failed = self._failed(result, error)
        transition = self._transition(failed, self._runtime.clock.now())
        outcome = self._retrier.call("record", lambda: self._runtime.backend.record([transition]))[0]
        if not outcome.applied and (outcome.before is None or not outcome.before.state.terminal):
            return  # another worker has taken it over, and settles it
        call = failed.invocation.call if outcome.applied else None
        self._effect_runner.perform(advance(failed.invocation.frames, Failed(failed.failure, call)))
        self._dead_letter([(result.delivery, f"it cannot be settled: {error_text(error)}")])

    def give_back(self, runs: Sequence[Run], *, delay_seconds: float = 0.0) -> None:
        """Give back runs: their leases end, and their messages may be delivered again at once."""
        if not runs:
            return
        self._record_given_back(runs)
        deliveries = [run.delivery for run in runs]
        self._retrier.call("release", lambda: self._runtime.broker.release(deliveries, delay_seconds=delay_seconds))
        self._in_flight.remove(runs)

    def _record_given_back(self, runs: Sequence[Run]) -> None:
        now = self._runtime.clock.now()
        transitions = [
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
        self._retrier.call("give back", lambda: self._runtime.backend.record(transitions))

    def _offer_mismatches(self, results: Sequence[RunResult]) -> list[RunResult]:
        """Offer tasks whose arguments do not fit this worker's version to other workers; the other results."""
        unchanged: list[RunResult] = []
        offered: list[tuple[Run, float]] = []
        for result in results:
            delay = self._offer_seconds(result) if result.mismatch else None
            if delay is None or result.run is None:
                unchanged.append(result)
                continue
            text = (
                "the arguments do not fit this worker's version of the task; offering it to other workers in %.1f s: %s"
            )
            logger.warning(text, delay, _message_of(result), extra=log_extra(result.invocation))
            offered.append((result.run, delay))
        if offered:
            self._record_given_back([run for run, _ in offered])
            self._publisher.offer_again([(run.delivery, delay) for run, delay in offered])
            deliveries = [run.delivery for run, _ in offered]
            self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge(deliveries))
            self._in_flight.remove(run for run, _ in offered)
        return unchanged

    def _offer_seconds(self, result: RunResult) -> float | None:
        return next_offer_seconds(offers(result.delivery.message), self._options.version_mismatch_seconds)

    def release_crashed(self, run: Run) -> None:
        """Release a run whose process died: another worker may start it now, and the unfinished start counts."""
        lease = RunLease(task_id=run.task_id, run=run.id, seconds=0)
        self._retrier.call("give up", lambda: self._runtime.backend.renew([lease]))
        self._retrier.call("release", lambda: self._runtime.broker.release([run.delivery]))
        self._in_flight.remove([run])

    def crashed_result(self, run: Run, text: str) -> RunResult:
        """The result of a task that has killed its process too often; ``text`` describes what happened."""
        logger.error("moving task %s to the dead letters: %s", run.task_id, text, extra=log_extra(run.invocation))
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

    def result_of_record(self, delivery: Delivery, invocation: Invocation, record: TaskRecord) -> RunResult:
        """The result of a delivery whose end is recorded already."""
        payloads = self._runtime.payloads
        result = RunResult(delivery=delivery, invocation=invocation, state=record.state, recorded=True)
        if record.state is State.RETRY:
            unfinished = Unfinished.load(payloads, record)
            return replace(result, failure=unfinished.failure, retry_at=unfinished.due)
        plain: Plain = None if record.payload is None else payloads.load(record.payload)
        if record.state is State.SUCCESS:
            return replace(result, value=plain)
        return replace(result, failure=plain)

    def failure_of(
        self, invocation: Invocation, error: BaseException | None, kind: str = "", message: str = ""
    ) -> Failure:
        """The failure of an invocation, from an exception or from a type and a message."""
        return failure_of(invocation, error, kind, message)

    def step(self, step: str, done: Sequence[Run | RunResult]) -> None:
        """Notify observers of a step of handling deliveries."""
        if done and self._runtime.observers.watches("worker_step"):
            self._runtime.observers.notify("worker_step", step=step, task_ids=[one.task_id for one in done])

    # Record

    def _record(self, results: Sequence[RunResult]) -> tuple[list[RunResult], dict[Member, GroupProgress]]:
        results = [self._within_size_limit(result) for result in results] if self._largest_value else results
        fresh = [result for result in results if not result.recorded]
        now = self._runtime.clock.now()
        transitions = [self._transition(result, now) for result in fresh]
        if not transitions:
            return list(results), {}
        outcomes = self._retrier.call("record", lambda: self._runtime.backend.record(transitions))
        settled = [result for result in results if result.recorded]
        progress: dict[Member, GroupProgress] = {}
        for result, transition, outcome in zip(fresh, transitions, outcomes, strict=True):
            if (recorded := self._recorded_result(result, transition, outcome)) is not None:
                settled.append(recorded)
            if outcome.applied and outcome.group is not None and transition.member is not None:
                progress[transition.member] = outcome.group
        return settled, progress

    def _within_size_limit(self, result: RunResult) -> RunResult:
        """The result, or a failure where it is too large for the backend."""
        limit = self._largest_value
        if limit is None or result.recorded or (size := len(self._payload(result))) <= limit:
            return result
        if result.error is not None:
            short = self._short(result.error)
            return replace(result, failure=self._runtime.registry.codec.encode(short), error=short)
        return self._failed(result, TooLarge(f"the result of task {result.task_id}", size, limit))

    def _failed(self, result: RunResult, error: Exception) -> RunResult:
        """The failure that ``result`` becomes because of ``error``."""
        failure = self._short(failure_of(result.invocation, error))
        plain = self._runtime.registry.codec.encode(failure)
        return replace(result, state=State.FAILURE, value=None, failure=plain, error=failure, recorded=False)

    def _short(self, failure: Failure) -> Failure:
        """The failure, shortened to a size that the backend accepts."""
        most = 1_000_000 if self._largest_value is None else self._largest_value // 32
        if len(failure.message) + len(failure.traceback) + len(repr((failure.args, failure.kwargs))) <= most:
            return failure
        return evolve(
            failure, message=failure.message[: most // 2], traceback=failure.traceback[-most // 2 :], args=(), kwargs={}
        )

    def _recorded_result(self, result: RunResult, transition: Transition, outcome: Outcome) -> RunResult | None:
        """The result as recorded; None if another worker has taken over the task, and settles it."""
        before = outcome.before
        if outcome.applied or before is None:
            return result
        ours = (
            before.run == transition.run and before.state is transition.state and before.attempt == transition.attempt
        )
        if ours:
            return result  # recorded before; only the answer was lost
        if before.state.terminal:
            return replace(self.result_of_record(result.delivery, result.invocation, before), run=result.run)
        text = "task %s: another worker has taken it over; ignoring the result of this run"
        logger.warning(text, result.task_id, extra=log_extra(result.invocation))
        return None

    def _transition(self, result: RunResult, now: float) -> Transition:
        call, frames = result.invocation.call, result.invocation.frames
        terminal, first = result.state.terminal, frames[0] if frames else None
        return Transition(
            task_id=call.id,
            state=result.state,
            attempt=result.invocation.attempt,
            at=now,
            worker=self._options.name,
            task=call.task,
            run=None if result.run is None else result.run.id,
            payload=self._payload(result),
            retention=self._runtime.kept_seconds(call.retention) if terminal else None,
            member=first.member if terminal and isinstance(first, Join) else None,
        )

    def _payload(self, result: RunResult) -> bytes:
        dump = self._runtime.payloads.dump
        if result.state is State.SUCCESS:
            return dump(result.value)
        if result.state is State.RETRY:
            unfinished = self._effect_runner.unfinished(result.invocation, due=result.retry_at, failure=result.failure)
            return unfinished.dump(self._runtime.payloads)
        return dump(result.failure)

    # Follow up

    def _effects(self, results: Iterable[RunResult]) -> list[Effect]:
        return [effect for result in results for effect in self._effects_of(result)]

    def _effects_of(self, result: RunResult) -> tuple[Effect, ...]:
        call, frames = result.invocation.call, result.invocation.frames
        if result.state is State.RETRY or not (frames or call.on_success or call.on_error):
            return ()
        if result.state is State.SUCCESS:
            return advance(frames, Succeeded(call, result.value))
        return advance(frames, Failed(result.failure, call, result.state))

    def _publish_retries(self, results: Sequence[RunResult]) -> None:
        if not results:
            return
        now = self._runtime.clock.now()
        self._publisher.publish_messages(
            [
                self._publisher.message(
                    replace(result.invocation, attempt=result.invocation.attempt + 1), now, eta=result.retry_at
                )
                for result in results
            ]
        )

    # Acknowledge

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages, and drop their bodies from the backend."""
        self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge(deliveries))
        self._drop_bodies(deliveries)

    def _finish_messages(self, results: Sequence[RunResult]) -> None:
        reasons = [_dead_reason(result) for result in results]
        dead = [(one.delivery, reason) for one, reason in zip(results, reasons, strict=True) if reason is not None]
        done = [one.delivery for one, reason in zip(results, reasons, strict=True) if reason is None]
        if dead:
            self._dead_letter(dead)
        if done:
            self.acknowledge(done)
        self._let_expire([one for one, reason in zip(results, reasons, strict=True) if reason is None])

    def _dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        bounded = [(delivery, shortened(reason)) for delivery, reason in letters]
        self._retrier.call("dead-letter", lambda: self._runtime.broker.dead_letter(bounded))

    def _drop_bodies(self, deliveries: Sequence[Delivery]) -> None:
        keys = [key for one in deliveries if (key := one.message.headers.get(BODY_HEADER)) is not None]
        if keys:
            self._retrier.call("drop bodies", lambda: self._runtime.backend.drop_bodies(keys))

    def _let_expire(self, results: Sequence[RunResult]) -> None:
        """Shorten retention: when their messages are gone, results are kept only as long as the app wants them."""
        soon: dict[float, list[str]] = defaultdict(list)
        window = self._runtime.redelivery_window_seconds
        for result in results:
            wanted = self._runtime.wanted_seconds(result.invocation.call.retention)
            if wanted is None or wanted >= window or not result.state.terminal:
                continue
            if FOLLOWS_HEADER not in result.delivery.message.headers:
                soon[wanted].append(result.task_id)
        shorten = self._runtime.backend.shorten_retention
        for seconds, task_ids in soon.items():
            self._retrier.call("shorten retention", partial(shorten, task_ids, retention_seconds=seconds))

    # Observers

    def _notify_observers(self, results: Sequence[RunResult]) -> None:
        if not any(map(self._runtime.observers.watches, _HOOKS.values())):
            return
        for result in results:
            if not result.recorded or result.state is State.CANCELLED:
                self._notify_one(result)

    def _notify_one(self, result: RunResult) -> None:
        observers = self._runtime.observers
        hook = _HOOKS[result.state]
        if not observers.watches(hook):
            return
        event = event_of(result.invocation, self._options.name)
        failure = None if result.error is None else shown_failure(result.error)
        if result.state is State.SUCCESS:
            observers.notify(hook, event=event, run_seconds=result.run_seconds)
        elif result.state is State.FAILURE:
            observers.notify(hook, event=event, failure=failure)
        elif result.state is State.RETRY:
            delay = (result.retry_at or 0.0) - self._runtime.clock.now()
            observers.notify(hook, event=event, failure=failure, delay_seconds=max(0.0, delay))
        else:
            observers.notify(hook, event=event)

    def _log_successes(self, results: Sequence[RunResult]) -> None:
        if not self._options.log_successes:
            return
        for result in results:
            if result.state is State.SUCCESS and not result.recorded:
                task_logger.info("succeeded in %.3f s", result.run_seconds, extra=log_extra(result.invocation))


_HOOKS = {
    State.SUCCESS: "task_succeeded",
    State.FAILURE: "task_failed",
    State.RETRY: "task_retrying",
    State.CANCELLED: "task_cancelled",
    State.EXPIRED: "task_expired",
}


def _message_of(result: RunResult) -> str:
    return "" if result.error is None else shortened(result.error.message)


def _described(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}"


def _dead_reason(result: RunResult) -> str | None:
    """Why the message of a result is dead-lettered; None: it is not."""
    if result.dead_reason is None and result.state is State.FAILURE and result.invocation.call.dead_letter:
        return "finally failed" if result.error is None else f"finally failed: {_described(result.error)}"
    return result.dead_reason
