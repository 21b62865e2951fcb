"""The observer: counts what the hooks of drivetrain report."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from prometheus_client import REGISTRY, CollectorRegistry

from drivetrain.contract import Interruption, Message, Settlement, State, TaskEvent, hookimpl
from drivetrain_prometheus.endpoint import ProcessEndpoint, SupervisorEndpoint, encode_report
from drivetrain_prometheus.metrics import instruments
from drivetrain_prometheus.options import Options

__all__ = ["Prometheus"]


@frozen(eq=False)
class _Children:
    """The instruments of one task in one queue."""

    outcomes: dict[State, Any]
    observe_run: Callable[[float], None]
    observe_wait: Callable[[float], None]


class Prometheus:
    """Counts tasks and messages of one app, and serves the metrics of a worker. Thread-safe.

    Args:
        app: the name of the app.
        options: where a worker serves its metrics.
        registry: where the metrics are registered; by default that of prometheus-client, so that the application's own
            metrics are served too.
    """

    def __init__(self, app: str, options: Options | None = None, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._app = app
        self._options = options or Options()
        self._registry = registry
        self._lock = threading.Lock()
        self._instruments = instruments(registry)
        self._children: dict[tuple[str, str], _Children] = {}
        self._workers = set[str]()
        self._supervised = False
        self._endpoint: ProcessEndpoint | None = None

    # Messages

    @hookimpl
    def after_publish(self, messages: Sequence[Message]) -> None:
        """Count published messages."""
        for queue, number in _by_queue(messages):
            self._instruments.published.labels(self._app, queue).inc(number)

    @hookimpl
    def publish_failed(self, messages: Sequence[Message]) -> None:
        """Count messages that were not published."""
        for queue, number in _by_queue(messages):
            self._instruments.publish_failures.labels(self._app, queue).inc(number)

    @hookimpl
    def messages_received(self, messages: Sequence[Message]) -> None:
        """Count received messages."""
        for queue, number in _by_queue(messages):
            self._instruments.received.labels(self._app, queue).inc(number)

    @hookimpl
    def messages_settled(self, messages: Sequence[Message], settlement: Settlement) -> None:
        """Count settled messages."""
        for queue, number in _by_queue(messages):
            self._instruments.settled.labels(self._app, queue, settlement.value).inc(number)

    # Tasks

    @hookimpl
    def tasks_ended(self, events: Sequence[TaskEvent]) -> None:
        """Count outcomes; observe how long each attempt has waited and run."""
        outcomes = Counter[Any]()
        for event in events:
            children = self._children.get((event.task, event.queue)) or self._children_of(event)
            outcomes[children.outcomes[event.state]] += 1  # type: ignore[index]
            started, ended = event.started_at, event.ended_at
            if started is not None and ended is not None:
                children.observe_run(ended - started)
                due = max(event.due_at or 0.0, event.published_at or 0.0)
                if due:
                    children.observe_wait(max(0.0, started - due))
        for counter, number in outcomes.items():
            counter.inc(number)

    @hookimpl
    def run_interrupted(self, event: TaskEvent, reason: Interruption) -> None:
        """Count a run without a result."""
        self._instruments.interrupted.labels(self._app, event.task, event.queue, reason.value).inc()

    @hookimpl
    def result_discarded(self, event: TaskEvent) -> None:
        """Count a result that does not count."""
        self._instruments.discarded.labels(self._app, event.task, event.queue).inc()

    def _children_of(self, event: TaskEvent) -> _Children:
        """The instruments of a task; of the task ``""`` if it did not run and never ran here.

        The names of such tasks come from messages, of which there may be any number.
        """
        if event.started_at is None and event.task:
            unknown = ("", event.queue)
            return self._children.get(unknown) or self._make_children(unknown)
        return self._make_children((event.task, event.queue))

    def _make_children(self, key: tuple[str, str]) -> _Children:
        with self._lock:
            if key not in self._children:
                labels = (self._app, *key)
                made = self._instruments
                self._children[key] = _Children(
                    {state: made.tasks.labels(*labels, _OUTCOMES[state]) for state in _OUTCOMES},
                    made.run_seconds.labels(*labels).observe,
                    made.wait_seconds.labels(*labels).observe,
                )
            return self._children[key]

    # Workers

    @hookimpl
    def supervisor_part(self) -> SupervisorEndpoint | None:
        """The endpoint of all processes of a worker; None: the application serves the registry."""
        self._supervised = True
        options = self._options
        return SupervisorEndpoint(options.host, options.port) if options.port else None

    @hookimpl
    def worker_report(self) -> bytes:
        """The metrics of this process."""
        return encode_report(self._registry)

    @hookimpl
    def worker_started(self, worker: str, status: Callable[[], Any]) -> None:
        """Show the status of the worker; without a supervisor, serve the metrics from this process."""
        with self._lock:
            self._workers.add(worker)
            self._instruments.statuses.add(self._app, worker, status)
            if not self._supervised and self._options.port and self._endpoint is None:
                self._endpoint = ProcessEndpoint(self._options.host, self._options.port, self._registry)
                self._endpoint.start()

    @hookimpl
    def worker_stopped(self, worker: str) -> None:
        """Show the status of the worker no more. The last worker of the process ends its endpoint."""
        with self._lock:
            self._workers.discard(worker)
            self._instruments.statuses.remove(self._app, worker)
            if self._endpoint is not None and not self._workers:
                self._endpoint.stop()
                self._endpoint = None


_OUTCOMES = {
    State.SUCCESS: "success",
    State.FAILURE: "failure",
    State.RETRY: "retry",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}


def _by_queue(messages: Sequence[Message]) -> Iterable[tuple[str, int]]:
    return Counter([message.queue for message in messages]).items()
