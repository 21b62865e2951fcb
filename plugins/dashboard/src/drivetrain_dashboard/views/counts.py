"""What became of tasks over time, as pages show it. Pure, except `read_series`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from drivetrain.contract import NotSupported
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.counts.task_counts import TaskCounts
from drivetrain_dashboard.views.context import ReadContext

__all__ = ["Counted", "CountsPoint", "Series", "by_queue", "by_task", "counted", "read_hour", "read_two_days"]

#: How long the counts of the last hour and of two days are remembered, in seconds. Workers report every five seconds.
_HOUR_SECONDS, _TWO_DAYS_SECONDS = 4.0, 60.0


class Counted(Struct, frozen=True, kw_only=True):
    """What became of some tasks in a range of time.

    Attributes:
        name: the name of the task or the queue; empty: all, or names that no worker knows.
        received: messages that workers received.
        succeeded, failed, retried, cancelled, expired: states that workers recorded.
        lease_lost: runs that another worker has taken over.
        run_p50, run_p95: how long functions ran, in seconds: half of them, and 95 of 100, at most this long. None: none
            has run.
        waiting_p50, waiting_p95: how long tasks waited since they were due, in seconds, likewise.
    """

    name: str = ""
    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    expired: int = 0
    lease_lost: int = 0
    run_p50: float | None = None
    run_p95: float | None = None
    waiting_p50: float | None = None
    waiting_p95: float | None = None

    @property
    def ended(self) -> int:
        """How many tasks have ended."""
        return self.succeeded + self.failed + self.cancelled + self.expired

    @property
    def failed_share(self) -> float:
        """The share of failures among the tasks that succeeded or failed, 0 to 1."""
        judged = self.succeeded + self.failed
        return self.failed / judged if judged else 0.0


class CountsPoint(Struct, frozen=True, kw_only=True):
    """What became of tasks in one step of time.

    Attributes:
        start: when the step starts, in Unix seconds.
        counts: the counts.
    """

    start: float
    counts: Counted


class Series(Struct, frozen=True, kw_only=True):
    """What became of all tasks, step by step.

    Attributes:
        since, until: the start of the first step and the end of the last one, in Unix seconds.
        step_seconds: the length of a step.
        points: a point for each step, in order. Steps in which nothing was counted are there too.
        total: all of them, added up.
        problem: why there are no counts; empty: there are.
    """

    since: float = 0.0
    until: float = 0.0
    step_seconds: float = 60.0
    points: tuple[CountsPoint, ...] = ()
    total: Counted = Counted()
    problem: str = ""


def counted(name: str, counts: TaskCounts) -> Counted:
    """Counts for a page."""
    return Counted(
        name=name,
        received=counts.received,
        succeeded=counts.succeeded,
        failed=counts.failed,
        retried=counts.retried,
        cancelled=counts.cancelled,
        expired=counts.expired,
        lease_lost=counts.lease_lost,
        run_p50=counts.run.quantile(0.5),
        run_p95=counts.run.quantile(0.95),
        waiting_p50=counts.waiting.quantile(0.5),
        waiting_p95=counts.waiting.quantile(0.95),
    )


def by_task(counts: CountsOverTime | None) -> tuple[Counted, ...]:
    """The counts of each task, those that failed most first."""
    return _rows({} if counts is None else counts.by_task())


def by_queue(counts: CountsOverTime | None) -> tuple[Counted, ...]:
    """The counts of each queue."""
    return _rows({} if counts is None else counts.by_queue())


def read_hour(context: ReadContext) -> tuple[Series, CountsOverTime | None]:
    """The counts of the last hour, by minute; None, and a series that says why, where there are none."""
    return context.remembered.get("hour", _HOUR_SECONDS, lambda: _read(context, timedelta(hours=1), None))


def read_two_days(context: ReadContext) -> Series:
    """The counts of the last two days, by half hours."""
    long, step = timedelta(days=2), timedelta(minutes=30)
    series, _ = context.remembered.get("two days", _TWO_DAYS_SECONDS, lambda: _read(context, long, step))
    return series


def _read(context: ReadContext, long: timedelta, step: timedelta | None) -> tuple[Series, CountsOverTime | None]:
    try:
        since = datetime.fromtimestamp(context.now(), UTC) - long
        counts = context.operations.counts(since=since, step=step)
    except NotSupported as error:
        return Series(problem=str(error)), None
    return _series(counts), counts


def _series(counts: CountsOverTime) -> Series:
    return Series(
        since=counts.since,
        until=counts.until,
        step_seconds=counts.step_seconds,
        points=tuple(CountsPoint(start=one.start, counts=counted("", one.total)) for one in counts.points),
        total=counted("", counts.total),
    )


def _rows(found: Mapping[str, TaskCounts]) -> tuple[Counted, ...]:
    rows = [counted(name, one) for name, one in found.items()]
    return tuple(sorted(rows, key=lambda one: (-one.failed, -one.ended, one.name)))
