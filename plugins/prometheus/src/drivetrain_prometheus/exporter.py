"""The exporter: metrics of queues and workers, read from the broker and the backend for each scrape.

It needs no plugin in the workers, and one for each app is enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import Metric

from drivetrain.contract import QueueSizes, ServiceError
from drivetrain_prometheus.metrics import EXPORTED

__all__ = ["Exporter", "Readable"]

logger = logging.getLogger("drivetrain.prometheus")

_SECTIONS = ("ready", "delayed", "in_flight", "dead")


class Readable(Protocol):
    """What the exporter calls; `drivetrain.App.operations`."""

    def queues(self) -> list[str]:
        """The queues of the app."""
        ...

    def sizes(self, queues: Sequence[str] | None = None) -> Mapping[str, QueueSizes]:
        """The sizes of queues."""
        ...

    def paused(self, queues: Sequence[str] | None = None) -> Mapping[str, Any]:
        """The paused ones among queues."""
        ...

    def workers(self) -> Sequence[Any]:
        """The workers that live."""
        ...


class Exporter:
    """A collector for a registry: reads the queues and workers of an app. Thread-safe; one scrape reads at a time.

    Args:
        app: the name of the app.
        operations: reads the broker and the backend.
        schedules: reads the schedules, each with its next tick; None: the backend stores none.
        limits: reads the limits that are in use; None: the backend stores none.
        now: the time, in Unix seconds.
    """

    def __init__(
        self,
        app: str,
        operations: Readable,
        *,
        schedules: Callable[[], Sequence[Any]] | None = None,
        limits: Callable[[], Sequence[Any]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._operations = operations
        self._schedules = schedules
        self._limits = limits
        self._now = now
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """The families, for the registry. Reads nothing."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """The metrics now. While a service is away, ``drivetrain_up`` is 0 and the others are missing."""
        metrics = _families()
        with self._lock:
            try:
                self._read(metrics)
            except ServiceError as error:
                logger.warning("cannot read the queues and workers of %s: %s", self._app, error)
                metrics = _families()
                self._add(metrics, "drivetrain_up", 0)
            else:
                self._add(metrics, "drivetrain_up", 1)
        yield from metrics.values()

    def _read(self, metrics: Mapping[str, Metric]) -> None:
        operations = self._operations
        queues = operations.queues()
        workers = operations.workers()
        queues = sorted({*queues, *(queue for worker in workers for queue in worker.queues)})
        paused = operations.paused(queues)
        for queue, sizes in operations.sizes(queues).items():
            self._add_sizes(metrics, queue, sizes)
        for queue in queues:
            self._add(metrics, "drivetrain_queue_paused", queue in paused, queue=queue)
            serving = sum(queue in worker.queues and not worker.stopping for worker in workers)
            self._add(metrics, "drivetrain_queue_workers", serving, queue=queue)
        self._add_workers(metrics, workers)
        if self._schedules is not None:
            self._add_schedules(metrics, self._schedules())
        if self._limits is not None:
            self._add_limits(metrics, self._limits())

    def _add_sizes(self, metrics: Mapping[str, Metric], queue: str, sizes: QueueSizes) -> None:
        for section in _SECTIONS:
            number = getattr(sizes, section)
            if number is not None:  # some brokers cannot tell
                self._add(metrics, "drivetrain_queue_messages", number, queue=queue, section=section)
        if sizes.oldest_seconds is not None:
            self._add(metrics, "drivetrain_queue_oldest_seconds", sizes.oldest_seconds, queue=queue)

    def _add_workers(self, metrics: Mapping[str, Metric], workers: Sequence[Any]) -> None:
        stopping = sum(worker.stopping for worker in workers)
        self._add(metrics, "drivetrain_workers", len(workers) - stopping, state="working")
        self._add(metrics, "drivetrain_workers", stopping, state="stopping")
        self._add(metrics, "drivetrain_workers_running", sum(worker.running_count for worker in workers))
        slots = Counter[str]()
        for worker in workers:
            slots.update(worker.slots)
        for pool, number in slots.items():
            self._add(metrics, "drivetrain_workers_slots", number, pool=pool)

    def _add_schedules(self, metrics: Mapping[str, Metric], schedules: Sequence[Any]) -> None:
        for state, number in Counter(schedule.state for schedule in schedules).items():
            self._add(metrics, "drivetrain_schedules", number, state=state)
        now = self._now()
        overdue = [now - each.next[0].timestamp() for each in schedules if each.state == "active" and each.next]
        self._add(metrics, "drivetrain_schedules_late_seconds", max([0.0, *overdue]))
        for outcome in ("sent", "dropped", "skipped"):
            ticks = sum(getattr(schedule, outcome) for schedule in schedules)
            self._add(metrics, "drivetrain_schedules_ticks", ticks, outcome=outcome)

    def _add_limits(self, metrics: Mapping[str, Metric], limits: Sequence[Any]) -> None:
        for one in limits:
            if one.holding or one.waiting:
                waiting, holding = sum(one.waiting.values()), sum(one.holding.values())
                self._add(metrics, "drivetrain_limit_waiting", waiting, limit=one.name)
                self._add(metrics, "drivetrain_limit_holding", holding, limit=one.name)
            if one.reserved_seconds:
                longest = max(one.reserved_seconds.values())
                self._add(metrics, "drivetrain_limit_reserved_seconds", longest, limit=one.name)

    def _add(self, metrics: Mapping[str, Metric], name: str, value: float, **labels: str) -> None:
        metrics[name].add_sample(name, {"app": self._app, **labels}, float(value))


def _families() -> dict[str, Metric]:
    return {family.name: family.metric() for family in EXPORTED}
