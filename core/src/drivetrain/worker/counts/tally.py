"""A tally: the counts of the tasks of one name in one queue, while they are collected."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from drivetrain.contract import State
from drivetrain.worker.counts.histogram import BOUNDS, Histogram
from drivetrain.worker.counts.task_counts import TaskCounts

__all__ = ["Durations", "Tally"]

_FEW = 4


class Durations:
    """A `Histogram` while it is collected. Not thread-safe."""

    __slots__ = ("counts", "longest", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def add_all(self, durations: list[float]) -> None:
        """Add durations, and sort the list: for many of them this is faster than one by one."""
        if len(durations) < _FEW:
            for seconds in durations:
                self.add(seconds)
            return
        durations.sort()
        self.total += sum(durations)
        self.longest = max(self.longest, durations[-1])
        first, number = 0, len(durations)
        while first < number:
            bucket = bisect_left(BOUNDS, durations[first])
            after = number if bucket == len(BOUNDS) else bisect_right(durations, BOUNDS[bucket], first)
            self.counts[bucket] += after - first
            first = after

    def histogram(self) -> Histogram:
        """What was added until now."""
        return Histogram.of_buckets(self.counts, self.total, self.longest)


class Tally:
    """`TaskCounts` while they are collected. Not thread-safe.

    Attributes:
        received, lease_lost: see `TaskCounts`.
        ended: how many runs have ended, by the recorded state.
        run, waiting: see `TaskCounts`.
    """

    __slots__ = ("ended", "lease_lost", "received", "run", "waiting")

    def __init__(self) -> None:
        self.received = self.lease_lost = 0
        self.ended = dict.fromkeys(State, 0)
        self.run, self.waiting = Durations(), Durations()

    def add(self, ran: list[float], waited: list[float]) -> None:
        """Add durations of runs and of waits, in seconds. It sorts the lists."""
        self.run.add_all(ran)
        self.waiting.add_all(waited)

    def counts(self) -> TaskCounts:
        """What was collected until now."""
        ended = self.ended
        return TaskCounts(
            received=self.received,
            succeeded=ended[State.SUCCESS],
            failed=ended[State.FAILURE],
            retried=ended[State.RETRY],
            cancelled=ended[State.CANCELLED],
            expired=ended[State.EXPIRED],
            lease_lost=self.lease_lost,
            run=self.run.histogram(),
            waiting=self.waiting.histogram(),
        )
