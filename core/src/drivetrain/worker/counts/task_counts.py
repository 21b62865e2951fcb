"""Counts of what became of tasks. Pure: they can be added up."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from drivetrain.worker.counts.histogram import Histogram

__all__ = ["NO_COUNTS", "NUMBERS", "CountedTasks", "TaskCounts", "added_up"]

_NONE = Histogram()


class TaskCounts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What workers have done with tasks.

    Attributes:
        received: messages that were received.
        succeeded, failed, retried, cancelled, expired: states that were recorded. A task that was cancelled before it
            started counts when a worker drops its message.
        lease_lost: runs that another worker has taken over.
        run: how long functions ran, of runs that have ended.
        waiting: how long tasks waited until their functions began: since they were sent, or due if that is later. It
            includes runs that go on. It leaves out starts after a crash, and tasks that nobody knows the time of.
    """

    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    expired: int = 0
    lease_lost: int = 0
    run: Histogram = _NONE
    waiting: Histogram = _NONE

    @property
    def ended(self) -> int:
        """How many tasks have ended. A retry does not count."""
        return self.succeeded + self.failed + self.cancelled + self.expired

    def plus(self, other: TaskCounts) -> TaskCounts:
        """Both, added up."""
        return TaskCounts(
            received=self.received + other.received,
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            retried=self.retried + other.retried,
            cancelled=self.cancelled + other.cancelled,
            expired=self.expired + other.expired,
            lease_lost=self.lease_lost + other.lease_lost,
            run=self.run.plus(other.run),
            waiting=self.waiting.plus(other.waiting),
        )


NO_COUNTS = TaskCounts()
#: The names of the numbers in `TaskCounts`.
NUMBERS = ("received", "succeeded", "failed", "retried", "cancelled", "expired", "lease_lost")


class CountedTasks(Struct, frozen=True, array_like=True):
    """The counts of the tasks of one name in one queue.

    Attributes:
        task: the name; "" for all names that the worker does not know, together.
        queue: the queue of their messages.
        counts: their counts.
    """

    task: str
    queue: str
    counts: TaskCounts


def added_up(counts: Iterable[TaskCounts]) -> TaskCounts:
    """All of them, added up."""
    total = NO_COUNTS
    for one in counts:
        total = total.plus(one)
    return total
