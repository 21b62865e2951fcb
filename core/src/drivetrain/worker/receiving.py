"""Receiving: turns deliveries into runs whose start is recorded. Settles at once what cannot or must not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.contract import (
    Delivery,
    Outcome,
    SerializationError,
    State,
    TaskRecord,
    Transition,
)
from drivetrain.worker.execution import error_text
from drivetrain.worker.finishing import Finisher
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import BODY_HEADER, Publisher, due, expires_at, offers
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run, RunResult, event_of, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.start_decision import LoneStart, StartDecision, decide_start, lone_start, max_shared_starts
from drivetrain.worker.unfinished import Unfinished
from drivetrain.worker.version_mismatch import next_offer_seconds
from drivetrain.workflow.frames import Call, Frames, Invocation
from drivetrain.workflow.wire import load_frames, load_invocation

__all__ = ["Receiver"]

logger = get_logger("drivetrain.worker")


#: The states of a task that has begun and not ended.
_BEGUN = frozenset({State.STARTED, State.RETRY})


class _BodyGone(SerializationError):
    """The backend has no body for the claim check of a message."""


class _Received(Struct, frozen=True, eq=False):
    """A delivery whose message is readable."""

    delivery: Delivery
    invocation: Invocation
    #: When the task is due, and the time after which it must not start; Unix seconds.
    due: float | None
    expires_at: float | None
    #: How often it was offered to other workers.
    offers: int


class Receiver:
    """Turns deliveries into runs whose start is recorded. Used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        publisher: Publisher,
        finisher: Finisher,
        retrier: Retrier,
        in_flight: InFlight,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._registry = runtime.registry
        self._stores = runtime.backend.capabilities.stores
        self._shared_starts = max_shared_starts(options.max_starts)
        self._publisher = publisher
        self._finisher = finisher
        self._retrier = retrier
        self._in_flight = in_flight
        # Not the worker's name, which another worker may share: the owner of a lease must be unique.
        self._series = f"{uuid4().hex[:16]}."
        self._numbers = count(1)

    def receive(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Receive up to ``limit`` deliveries; may raise ServiceError."""
        return self._runtime.broker.receive(
            self._options.queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=self._options.lease_seconds
        )

    def start(self, deliveries: Sequence[Delivery]) -> list[Run]:
        """Record starts; the runs. All other ``deliveries`` are settled.

        Runs with a `LoneStart` must run alone, in `Isolation`.
        """
        now = self._runtime.clock.now()
        received = [one for one in self._read(deliveries) if one is not None]
        self._notify_observers("received", received)
        received = self._republish_delayed(received, now)
        received = self._drop_expired(received, now)
        owned_until = self._runtime.clock.monotonic() + self._options.lease_seconds
        runs = [self._run(one, now, owned_until) for one in self._known(received)]
        return self._start(runs, now)

    # Reading

    def _read(self, deliveries: Sequence[Delivery]) -> Iterator[_Received | None]:
        bodies = self._load_bodies(deliveries)
        for delivery in deliveries:
            try:
                yield self._decode(delivery, bodies)
            except Exception as error:  # noqa: BLE001 - any message or serializer error makes a message unreadable; it is logged and dead-lettered
                self._handle_unreadable(delivery, error)

    def _load_bodies(self, deliveries: Sequence[Delivery]) -> dict[str, bytes | None]:
        keys = [key for one in deliveries if (key := one.message.headers.get(BODY_HEADER)) is not None]
        if not keys:
            return {}
        bodies = self._retrier.call("load bodies", lambda: self._runtime.backend.load_bodies(keys))
        return dict(zip(keys, bodies, strict=True))

    def _decode(self, delivery: Delivery, bodies: dict[str, bytes | None]) -> _Received:
        message = delivery.message
        headers = message.headers
        # Most messages have only the content type.
        details = (due(message), expires_at(message), offers(message)) if len(headers) > 1 else (None, None, 0)
        key = headers.get(BODY_HEADER)
        body = message.body if key is None else bodies[key]
        if body is None:
            raise _BodyGone(f"the backend no longer has the body of this message ({key})")
        invocation = load_invocation(self._runtime.payloads.load_body(headers.get(CONTENT_TYPE_HEADER), body))
        return _Received(delivery, invocation, *details)

    def _handle_unreadable(self, delivery: Delivery, error: Exception) -> None:
        message = delivery.message
        record = self._retrier.call("read", lambda: self._runtime.backend.read([message.id]))[0]
        if isinstance(error, _BodyGone) and record is not None and record.state is not State.PENDING:
            # A body is dropped after its message was settled, so this is a repeated delivery of a settled message.
            self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge([delivery]))
            return
        call = Call(id=message.id, task=record.task if record else "", queue=message.queue)
        self._dead_letter(
            delivery, Invocation(call=call, frames=self._frames_of(record)), f"unreadable: {error_text(error)}", error
        )

    def _frames_of(self, record: TaskRecord | None) -> Frames:
        """The frames that depend on a task whose message is unreadable, from its record."""
        if record is None or record.downstream is None:
            return ()
        plain = self._runtime.payloads.load(record.downstream)
        return load_frames(plain) if isinstance(plain, list) else ()

    def _dead_letter(self, delivery: Delivery, invocation: Invocation, reason: str, error: Exception) -> None:
        details = (delivery.message.id, invocation.call.queue, shortened(reason))
        logger.error("moving message %s to the dead letters of %s: %s", *details, extra=log_extra(invocation))
        failure = self._finisher.failure_of(invocation, error)
        result = RunResult(
            delivery=delivery,
            invocation=invocation,
            state=State.FAILURE,
            failure=self._runtime.registry.codec.encode(failure),
            error=failure,
            dead_reason=reason,
        )
        self._finisher.settle([result])

    # What is not to be started

    def _republish_delayed(self, received: list[_Received], now: float) -> list[_Received]:
        early = [one.delivery for one in received if one.due is not None and one.due > now]
        if not early:
            return received
        self._publisher.republish_delayed(early, now)
        self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge(early))
        gone = {id(delivery) for delivery in early}
        return [one for one in received if id(one.delivery) not in gone]

    def _drop_expired(self, received: list[_Received], now: float) -> list[_Received]:
        late = [one for one in received if one.expires_at is not None and one.expires_at < now]
        if not late:
            return received
        begun = self._begun(late)
        self._finisher.settle([self._expired_result(one) for one in late if one.invocation.call.id not in begun])
        in_time = [one for one in received if one.expires_at is None or one.expires_at >= now]
        # A task that started in time may start again at any time.
        return in_time + [replace(one, expires_at=None) for one in late if one.invocation.call.id in begun]

    def _begun(self, late: Sequence[_Received]) -> set[str]:
        """The ids of tasks that started in time: they run, their worker has died, or a retry follows."""
        task_ids = [one.invocation.call.id for one in late]
        records = self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))
        return {record.task_id for record in records if record is not None and record.state in _BEGUN}

    def _expired_result(self, one: _Received) -> RunResult:
        failure = self._finisher.failure_of(one.invocation, None, "drivetrain.TaskExpired", "not started in time")
        return RunResult(
            delivery=one.delivery,
            invocation=one.invocation,
            state=State.EXPIRED,
            failure=self._runtime.registry.codec.encode(failure),
            error=failure,
        )

    def _known(self, received: Sequence[_Received]) -> Iterator[_Received]:
        for one in received:
            if one.invocation.call.task in self._registry:
                yield one
            else:
                self._offer_to_others(one)

    def _offer_to_others(self, one: _Received) -> None:
        if one.invocation.call.ignore_unknown:
            self._finisher.settle([self._ignored_result(one)])
            return
        delay = next_offer_seconds(one.offers, self._options.version_mismatch_seconds)
        if delay is None:
            try:
                self._runtime.registry.find(one.invocation.call.task)
            except Exception as error:  # noqa: BLE001 - UnknownTask, raised for its traceback, which the failure records
                self._dead_letter(one.delivery, one.invocation, f"unknown task: {error}", error)
            return
        self._publisher.offer_again([(one.delivery, delay)])
        self._retrier.call("acknowledge", lambda: self._runtime.broker.acknowledge([one.delivery]))

    def _ignored_result(self, one: _Received) -> RunResult:
        text = "this worker has no such task, and it was sent with ignore_unknown"
        failure = self._finisher.failure_of(one.invocation, None, "drivetrain.UnknownTask", text)
        return RunResult(
            delivery=one.delivery,
            invocation=one.invocation,
            state=State.CANCELLED,
            failure=self._runtime.registry.codec.encode(failure),
            error=failure,
        )

    # Starting

    def _run(self, one: _Received, now: float, owned_until: float) -> Run:
        return Run(
            id=f"{self._series}{next(self._numbers)}",
            delivery=one.delivery,
            invocation=one.invocation,
            definition=self._registry[one.invocation.call.task],
            received_at=now,
            owned_until=owned_until,
            expires_at=one.expires_at,
        )

    def _start(self, runs: list[Run], now: float) -> list[Run]:
        if not runs:
            return []
        transitions = [self._transition(run, now) for run in runs]
        outcomes = self._retrier.call("start", lambda: self._runtime.backend.record(transitions))
        decisions = [
            (run, outcome, self._decide(run, outcome, transition))
            for run, outcome, transition in zip(runs, outcomes, transitions, strict=True)
        ]
        started = [run for run, _, decision in decisions if decision is StartDecision.RUN]
        self._in_flight.add(started)
        others = [entry for entry in decisions if entry[2] is not StartDecision.RUN]
        try:
            started += self._handle_refused(others, now)
        except BaseException:
            self._in_flight.remove(started)  # they will not run, so their leases must expire
            raise
        self._notify_started(started)
        return started

    def _decide(self, run: Run, outcome: Outcome, transition: Transition) -> StartDecision:
        if not self._stores and _earlier_deliveries(run) >= self._shared_starts:
            return StartDecision.SUSPECT
        return decide_start(outcome, transition, shared_starts=self._shared_starts)

    def _transition(self, run: Run, now: float) -> Transition:
        return Transition(
            task_id=run.task_id,
            state=State.STARTED,
            attempt=run.invocation.attempt,
            at=now,
            worker=self._options.name,
            task=run.invocation.call.task,
            run=run.id,
            lease=self._options.lease_seconds,
            received_at=run.received_at,
        )

    def _handle_refused(self, decisions: Sequence[tuple[Run, Outcome, StartDecision]], now: float) -> list[Run]:
        """Settle deliveries that must not run as usual; the suspects among them, which are in flight from now on."""
        results, suspects = [], []
        for run, outcome, decision in decisions:
            before, result = outcome.before, None
            if decision is StartDecision.SUSPECT:
                result = self._start_suspect(run, before)
                if run.lone is not None:
                    suspects.append(run)
            elif decision is StartDecision.BUSY and before is not None:
                self._release_busy(run, before, now)
            elif decision is StartDecision.STALE or before is None:
                self._finisher.acknowledge([run.delivery])
            else:
                result = self._result_of_record(run, before)
            if result is not None:
                results.append(result)
        self._finisher.settle(results)
        self._in_flight.add(suspects)
        return suspects

    def _start_suspect(self, run: Run, before: TaskRecord | None) -> RunResult | None:
        """Give a suspect its lone start; its result, if it has no starts left."""
        try:
            run.lone = self._lone_start(run, before)
        except SerializationError as error:
            self._dead_letter(run.delivery, run.invocation, f"its record cannot be read: {error}", error)
            return None
        return None if run.lone is not None else self._finisher.crashed_result(run, self._crash(run, before))

    def _lone_start(self, run: Run, before: TaskRecord | None) -> LoneStart | None:
        limit = self._options.max_starts
        if before is not None:
            known = Unfinished.load(self._runtime.payloads, before)
            return lone_start(known, max_starts=limit, tally=f"started {before.starts + 1} times")
        # Nothing is stored, and earlier deliveries may have been given back. So only a lone start decides.
        earlier = _earlier_deliveries(run)
        lone = min(earlier - self._shared_starts, limit - self._shared_starts - 1)
        tally = f"delivered {earlier + 1} times"
        return lone_start(Unfinished(lone_starts=max(0, lone)), max_starts=limit, tally=tally)

    def _crash(self, run: Run, before: TaskRecord | None) -> str:
        if before is None:
            return f"delivered {_earlier_deliveries(run)} times before and never finished"
        lone = Unfinished.load(self._runtime.payloads, before).lone_starts
        if lone == 0:
            return "started once and never finished; with max_starts = 1 it is not started again"
        tally = f"started {before.starts} times and never finished, {lone} of them alone"
        return f"{tally}; the last time its worker ran nothing else and disappeared"

    def _result_of_record(self, run: Run, before: TaskRecord) -> RunResult | None:
        try:
            return self._finisher.result_of_record(run.delivery, run.invocation, before)
        except SerializationError as error:
            self._dead_letter(run.delivery, run.invocation, f"its record cannot be read: {error}", error)
            return None

    def _release_busy(self, run: Run, before: TaskRecord, now: float) -> None:
        remaining = self._options.lease_seconds if before.leased_until is None else before.leased_until - now
        longest = self._runtime.broker.capabilities.longest_delay_seconds
        delay = min(
            max(remaining, 0.05), self._options.lease_seconds, longest if longest is not None else remaining + 1
        )
        busy = [run.delivery]
        self._retrier.call("release", lambda: self._runtime.broker.release(busy, delay_seconds=delay))

    def _notify_started(self, runs: Sequence[Run]) -> None:
        observers = self._runtime.observers
        if observers.watches("task_started"):
            for run in runs:
                observers.notify("task_started", event=event_of(run.invocation, self._options.name))
        self._finisher.step("started", runs)

    def _notify_observers(self, step: str, received: Sequence[_Received]) -> None:
        observers = self._runtime.observers
        if observers.watches("task_received"):
            for one in received:
                observers.notify("task_received", event=event_of(one.invocation, self._options.name))
        if observers.watches("worker_step") and received:
            observers.notify("worker_step", step=step, task_ids=[one.invocation.call.id for one in received])


def _earlier_deliveries(run: Run) -> int:
    """How often the message of a run was delivered before; 0 where the broker does not count."""
    return (run.delivery.delivery_count or 1) - 1
