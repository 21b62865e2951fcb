"""The instruments: those of the conventions for messaging, and those of drivetrain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from opentelemetry.metrics import Meter

from drivetrain.contract import Interruption, State, TaskEvent
from drivetrain_opentelemetry.attributes import (
    DESTINATION,
    ERROR_TYPE,
    INTERRUPTED,
    LIMIT,
    OPERATION,
    OPERATION_TYPE,
    OUTCOME,
    TASK,
    Service,
    Value,
    error_type,
)

__all__ = ["Metrics"]

#: By the conventions, in seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_OUTCOMES = {
    State.SUCCESS: "success",
    State.FAILURE: "failure",
    State.RETRY: "retry",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}


class Metrics:
    """Measures one app. Thread-safe.

    Args:
        meter: makes the instruments.
        service: the broker.
    """

    def __init__(self, meter: Meter, service: Service) -> None:
        self._service = service
        self._operation_duration = meter.create_histogram(
            "messaging.client.operation.duration",
            unit="s",
            description="Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._process_duration = meter.create_histogram(
            "messaging.process.duration",
            unit="s",
            description="Duration of processing operation.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._sent = meter.create_counter(
            "messaging.client.sent.messages",
            unit="{message}",
            description="Number of messages producer attempted to send to the broker.",
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            unit="{message}",
            description="Number of messages that were delivered to the application.",
        )
        self._wait_duration = meter.create_histogram(
            "drivetrain.task.wait.duration",
            unit="s",
            description="Time from when an attempt is due until it starts.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._limit_wait_duration = meter.create_histogram(
            "drivetrain.limit.wait.duration",
            unit="s",
            description="How long attempts waited for a limit before they started.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._tasks = meter.create_counter(
            "drivetrain.tasks", unit="{attempt}", description="Attempts whose end was recorded."
        )
        self._interrupted = meter.create_counter(
            "drivetrain.runs.interrupted", unit="{run}", description="Runs that ended without a result."
        )
        self._discarded = meter.create_counter(
            "drivetrain.results.discarded", unit="{result}", description="Results that did not count: fenced."
        )

    def operation(
        self,
        operation: Mapping[str, Value],
        queues: Mapping[str, int],
        seconds: float,
        *,
        error: BaseException | None = None,
    ) -> None:
        """An operation on a batch of messages, which took ``seconds``; ``queues``: how many of them each queue has."""
        failed = {} if error is None else {ERROR_TYPE: error_type(error)}
        where = {DESTINATION: next(iter(queues))} if len(queues) == 1 else {}
        self._operation_duration.record(seconds, {**operation, **where, **failed})
        counter = {"send": self._sent, "receive": self._consumed}.get(str(operation[OPERATION_TYPE]))
        if counter is not None:
            for queue, number in queues.items():
                counted = {**self._service.attributes, OPERATION: operation[OPERATION], DESTINATION: queue}
                counter.add(number, {**counted, **failed})

    def processed(self, event: TaskEvent, seconds: float, kind: str = "") -> None:
        """A run whose function took ``seconds``; ``kind``: the value of ``error.type``, if it has failed."""
        attributes = {**self._service.attributes, OPERATION: "process", DESTINATION: event.queue, TASK: event.task}
        self._process_duration.record(seconds, {**attributes, ERROR_TYPE: kind} if kind else attributes)

    def ended(self, events: Sequence[TaskEvent]) -> None:
        """The ends of attempts."""
        outcomes = Counter((_task(event), event.queue, _OUTCOMES[event.state]) for event in events if event.state)
        for (task, queue, outcome), number in outcomes.items():
            self._tasks.add(number, {TASK: task, DESTINATION: queue, OUTCOME: outcome})
        for event in events:
            due = max(event.due_at or 0.0, event.published_at or 0.0)
            if due and event.started_at is not None:
                waited = max(0.0, event.started_at - due)
                self._wait_duration.record(waited, {TASK: event.task, DESTINATION: event.queue})

    def limited(self, events: Sequence[TaskEvent]) -> None:
        """The starts of attempts that have waited for limits."""
        for event in events:
            for wait in event.limit_waits:
                self._limit_wait_duration.record(wait.seconds, {LIMIT: wait.limit})

    def interrupted(self, event: TaskEvent, reason: Interruption) -> None:
        """A run without a result."""
        self._interrupted.add(1, {TASK: event.task, DESTINATION: event.queue, INTERRUPTED: reason.value})

    def discarded(self, event: TaskEvent) -> None:
        """A result that does not count."""
        self._discarded.add(1, {TASK: event.task, DESTINATION: event.queue})


def _task(event: TaskEvent) -> str:
    """The name of a task that ran; others come from messages, of which there may be any number."""
    return event.task if event.started_at is not None else ""
