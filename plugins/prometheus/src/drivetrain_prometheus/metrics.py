"""The metrics of drivetrain: their names, labels and buckets.

A label is the name of an app, a task, a queue, a limit or an outcome; never an id or a key. So schedules, and the keys
of a limit, of which there may be thousands, are added up. A new metric is a row here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import prometheus_client
from attrs import frozen
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics_core import HistogramMetricFamily

__all__ = ["EXPORTED", "OBSERVED", "SERVED", "STATUS", "Family", "Instruments", "WorkerStatuses", "instruments"]

#: From a millisecond to ten minutes. Tasks differ by more than requests do.
_BUCKETS_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)


@frozen
class Family:
    """The description of a metric.

    Attributes:
        name: its name without a suffix.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: the names of its labels.
        text: the help text.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query uses."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "sum", "count"))
        return (self.name,)

    def metric(self) -> Metric:
        """The metric of a custom collector, without samples."""
        return Metric(self.name, self.text, self.kind)


#: What a process has counted; with the label ``process`` at the endpoint of a supervisor.
OBSERVED: Sequence[Family] = (
    Family(
        "drivetrain_messages_published",
        "counter",
        ("app", "queue"),
        "Messages that the broker has accepted: of new tasks, of retries, and of tasks that follow others.",
    ),
    Family(
        "drivetrain_publish_failures",
        "counter",
        ("app", "queue"),
        "Messages that were not published, or not for sure.",
    ),
    Family("drivetrain_messages_received", "counter", ("app", "queue"), "Messages that the worker has received."),
    Family(
        "drivetrain_messages_settled",
        "counter",
        ("app", "queue", "settlement"),
        "Deliveries that the worker has settled. settlement: acknowledge, release, dead_letter.",
    ),
    Family(
        "drivetrain_tasks",
        "counter",
        ("app", "task", "queue", "outcome"),
        "Attempts whose end the worker has recorded. outcome: success, failure, retry, cancelled, expired.",
    ),
    Family(
        "drivetrain_task_run_seconds",
        "histogram",
        ("app", "task", "queue"),
        "How long the functions of tasks ran, whatever their outcome.",
    ),
    Family(
        "drivetrain_task_wait_seconds",
        "histogram",
        ("app", "task", "queue"),
        "How long attempts waited from the time at which they were due until they started. A delay does not count.",
    ),
    Family(
        "drivetrain_runs_interrupted",
        "counter",
        ("app", "task", "queue", "reason"),
        "Runs that ended without a result. reason: cancelled, lease_lost, released, crashed.",
    ),
    Family(
        "drivetrain_results_discarded",
        "counter",
        ("app", "task", "queue"),
        "Results that did not count, because the run no longer owned its task.",
    ),
    Family(
        "drivetrain_limit_wait_seconds",
        "histogram",
        ("app", "limit"),
        "How long attempts waited for a limit of their task before they started. Those that did not wait are left out.",
    ),
)

#: What the worker of a process does now.
STATUS: Sequence[Family] = (
    Family("drivetrain_worker_tasks_running", "gauge", ("app",), "Tasks that run in the worker now."),
    Family("drivetrain_worker_tasks_waiting", "gauge", ("app",), "Tasks that have started and wait for a slot."),
    Family("drivetrain_worker_slots", "gauge", ("app", "pool"), "How many tasks the worker can run at once."),
)

#: What the endpoint of a supervisor adds.
SERVED: Sequence[Family] = (
    Family("drivetrain_worker_processes", "gauge", (), "Worker processes that have answered this scrape."),
)

#: What the exporter reads from the broker and the backend.
EXPORTED: Sequence[Family] = (
    Family("drivetrain_up", "gauge", ("app",), "1 if the broker and the backend were read for this scrape, else 0."),
    Family(
        "drivetrain_queue_messages",
        "gauge",
        ("app", "queue", "section"),
        "Messages in a queue. section: ready, delayed, in_flight, dead.",
    ),
    Family(
        "drivetrain_queue_oldest_seconds",
        "gauge",
        ("app", "queue"),
        "How long the oldest ready message has been ready; 0 if none is ready.",
    ),
    Family("drivetrain_queue_paused", "gauge", ("app", "queue"), "1 if the queue is paused, else 0."),
    Family("drivetrain_queue_workers", "gauge", ("app", "queue"), "Worker processes that serve the queue."),
    Family("drivetrain_workers", "gauge", ("app", "state"), "Worker processes. state: working, stopping."),
    Family("drivetrain_workers_running", "gauge", ("app",), "Tasks that run in all workers now."),
    Family(
        "drivetrain_schedules",
        "gauge",
        ("app", "state"),
        "Schedules. state: active, paused, orphaned, finished, unreadable.",
    ),
    Family(
        "drivetrain_schedules_late_seconds",
        "gauge",
        ("app",),
        "How long the most overdue tick of an active schedule is overdue; 0 if none is.",
    ),
    Family(
        "drivetrain_schedules_ticks",
        "gauge",
        ("app", "outcome"),
        "Ticks of the schedules that are stored now. outcome: sent, dropped, skipped.",
    ),
    Family("drivetrain_workers_slots", "gauge", ("app", "pool"), "How many tasks all workers can run at once."),
    Family(
        "drivetrain_limit_waiting",
        "gauge",
        ("app", "limit"),
        "Tasks that wait for a place of a concurrency limit, for all its keys.",
    ),
    Family(
        "drivetrain_limit_holding",
        "gauge",
        ("app", "limit"),
        "Tasks that hold a place of a concurrency limit, for all its keys.",
    ),
    Family(
        "drivetrain_limit_reserved_seconds",
        "gauge",
        ("app", "limit"),
        "For how long from now starts of a rate limit are reserved, for the key with the longest backlog.",
    ),
)


class Series:
    """The durations with the same labels. Thread-safe."""

    __slots__ = ("_counts", "_lock", "_sum")

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = [0] * (len(_BUCKETS_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: Sequence[float]) -> None:
        """Take a batch of durations."""
        with self._lock:
            for each in seconds:
                self._counts[bisect_left(_BUCKETS_SECONDS, each)] += 1
            self._sum += sum(seconds)

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """The number of durations up to each bound, and their sum."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        bounds = [*map(repr, _BUCKETS_SECONDS), "+Inf"]
        return list(zip(bounds, accumulate(counts), strict=True)), total


class Durations:
    """A histogram that takes a batch of durations at once: tasks end in batches, and most of its cost is in the calls.

    Thread-safe. It is a collector for a registry.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._lock = Lock()
        self._series: dict[tuple[str, ...], Series] = {}

    def series(self, *labels: str) -> Series:
        """The durations with these values of labels."""
        with self._lock:
            return self._series.setdefault(labels, Series())

    def describe(self) -> list[Metric]:
        """The family, for the registry."""
        return [HistogramMetricFamily(self._family.name, self._family.text, labels=self._family.labels)]

    def collect(self) -> list[Metric]:
        """The durations so far."""
        with self._lock:
            series = dict(self._series)
        metric = HistogramMetricFamily(self._family.name, self._family.text, labels=self._family.labels)
        for labels, one in series.items():
            buckets, total = one.read()
            metric.add_metric(labels, buckets, total)
        return [metric]


class WorkerStatuses:
    """Collects what the workers of this process do now. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._statuses: dict[tuple[str, str], Callable[[], Any]] = {}

    def add(self, app: str, worker: str, status: Callable[[], Any]) -> None:
        """Show a worker of an app; ``status`` returns what it does now."""
        with self._lock:
            self._statuses[app, worker] = status

    def remove(self, app: str, worker: str) -> None:
        """Show a worker no more."""
        with self._lock:
            self._statuses.pop((app, worker), None)

    def describe(self) -> list[Metric]:
        """The families of `collect`, for the registry."""
        return [family.metric() for family in STATUS]

    def collect(self) -> list[Metric]:
        """The metrics now, added up over the workers of each app."""
        with self._lock:
            statuses = [(app, status()) for (app, _), status in self._statuses.items()]
        running, waiting, slots = self.describe()
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for app, status in statuses:
            totals[app].update(running=status.running_count, waiting=status.waiting_count)
            totals[app].update({f"pool {pool}": number for pool, number in status.slots.items()})
        for app, total in totals.items():
            running.add_sample(running.name, {"app": app}, total.pop("running"))
            waiting.add_sample(waiting.name, {"app": app}, total.pop("waiting"))
            for pool, number in total.items():
                slots.add_sample(slots.name, {"app": app, "pool": pool.removeprefix("pool ")}, number)
        return [running, waiting, slots]


@frozen(eq=False)
class Instruments:
    """The counters and histograms of one registry, and its collector of statuses."""

    statuses: WorkerStatuses

    published: prometheus_client.Counter
    publish_failures: prometheus_client.Counter
    received: prometheus_client.Counter
    settled: prometheus_client.Counter
    tasks: prometheus_client.Counter
    run_seconds: Durations
    wait_seconds: Durations
    interrupted: prometheus_client.Counter
    discarded: prometheus_client.Counter
    limit_wait_seconds: Durations


_made: WeakKeyDictionary[CollectorRegistry, Instruments] = WeakKeyDictionary()
_lock = Lock()


def instruments(registry: CollectorRegistry) -> Instruments:
    """The instruments of a registry, made once: all apps of a process share them, and differ by the label ``app``."""
    with _lock:
        if registry not in _made:
            statuses = WorkerStatuses()
            registry.register(statuses)
            made: list[Any] = [_instrument(family, registry) for family in OBSERVED]
            _made[registry] = Instruments(statuses, *made)
        return _made[registry]


def _instrument(family: Family, registry: CollectorRegistry) -> prometheus_client.Counter | Durations:
    if family.kind == "counter":
        return prometheus_client.Counter(family.name, family.text, family.labels, registry=registry)
    durations = Durations(family)
    registry.register(durations)
    return durations
