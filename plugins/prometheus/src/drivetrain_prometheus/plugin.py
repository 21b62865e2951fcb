"""The observer: counts what the hooks of drivetrain report."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import prometheus_client
from attrs import define, field, frozen
from prometheus_client import REGISTRY, CollectorRegistry

from drivetrain.contract import Interruption, Settlement, State, TaskEvent, hookimpl
from drivetrain_prometheus.endpoint import ProcessEndpoint, SupervisorEndpoint, encode_report
from drivetrain_prometheus.metrics import Series, instruments
from drivetrain_prometheus.options import Options

__all__ = ["Prometheus"]


@define(eq=False)
class _Batch:
    """The ends of one task in one queue, of one batch."""

    outcomes: list[State | None] = field(factory=list)
    run_seconds: list[float] = field(factory=list)
    wait_seconds: list[float] = field(factory=list)


@frozen(eq=False)
class _Children:
    """The instruments of one task in one queue."""

    outcomes: Mapping[State | None, prometheus_client.Counter]
    run_seconds: Series
    wait_seconds: Series

    def add(self, batch: _Batch) -> None:
        """Count and observe a batch."""
        for state, number in Counter(batch.outcomes).items():
            self.outcomes[state].inc(number)
        self.run_seconds.observe(batch.run_seconds)
        self.wait_seconds.observe(batch.wait_seconds)


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
        #: Counters of messages by their labels: looking them up costs less here than in prometheus-client.
        self._counters: dict[tuple[Any, ...], prometheus_client.Counter] = {}
        self._workers = set[str]()
        self._supervised = False
        self._endpoint: ProcessEndpoint | None = None

    # Messages

    @hookimpl
    def after_publish(self, queues: Mapping[str, int]) -> None:
        """Count published messages."""
        self._count(self._instruments.published, queues)

    @hookimpl
    def publish_failed(self, queues: Mapping[str, int]) -> None:
        """Count messages that were not published."""
        self._count(self._instruments.publish_failures, queues)

    @hookimpl
    def messages_received(self, queues: Mapping[str, int]) -> None:
        """Count received messages."""
        self._count(self._instruments.received, queues)

    @hookimpl
    def messages_settled(self, queues: Mapping[str, int], settlement: Settlement) -> None:
        """Count settled messages."""
        self._count(self._instruments.settled, queues, settlement.value)

    def _count(self, counter: prometheus_client.Counter, queues: Mapping[str, int], *labels: str) -> None:
        for queue, number in queues.items():
            key = (counter, queue, *labels)
            child = self._counters.get(key)
            if child is None:
                child = self._counters[key] = counter.labels(self._app, queue, *labels)
            child.inc(number)

    # Tasks

    @hookimpl
    def tasks_ended(self, events: Sequence[TaskEvent]) -> None:
        """Count outcomes; observe how long each attempt has waited and run."""
        batches: dict[_Children, _Batch] = {}
        for event in events:
            children = self._children.get((event.task, event.queue)) or self._children_of(event)
            batch = batches.get(children)
            if batch is None:
                batch = batches[children] = _Batch()
            batch.outcomes.append(event.state)
            started, ended = event.started_at, event.ended_at
            if started is not None and ended is not None:
                batch.run_seconds.append(ended - started)
                due = max(event.due_at or 0.0, event.published_at or 0.0)
                if due:
                    batch.wait_seconds.append(max(0.0, started - due))
        for children, batch in batches.items():
            children.add(batch)

    @hookimpl
    def limited_tasks_started(self, events: Sequence[TaskEvent]) -> None:
        """Observe how long attempts have waited for their limits."""
        waits: dict[str, list[float]] = {}
        for event in events:
            for wait in event.limit_waits:
                waits.setdefault(wait.limit, []).append(wait.seconds)
        for limit, seconds in waits.items():
            self._instruments.limit_wait_seconds.series(self._app, limit).observe(seconds)

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
                    made.run_seconds.series(*labels),
                    made.wait_seconds.series(*labels),
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
