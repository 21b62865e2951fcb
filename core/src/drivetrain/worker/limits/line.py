"""The places of a concurrency limit, and the line of tasks that wait for one. Pure values.

A holder of a place is a task. It holds its place as long as its record says that a run of it holds its lease.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.contract import State, TaskRecord

__all__ = ["GRANT_SECONDS", "Holder", "Places", "Stall", "is_live"]

#: How long a place is kept for a task that was woken and has not come, in seconds.
GRANT_SECONDS = 300.0
#: How long a worker may take from the number of a task to its stored message, in seconds. Later the number is skipped.
_ENTRY_DELAY_SECONDS = 5.0


class Holder(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that holds a place.

    Attributes:
        task_id: its id.
        since: since when; seconds of the backend's clock.
        number: for a task that was woken and has not come yet: its number in the line; None: it came itself.
        by: the id of the task whose end has woken it; empty: none has.
        waits: whether it waits for a place of another limit meanwhile.
    """

    task_id: str
    since: float
    number: int | None = None
    by: str = ""
    waits: bool = False


class Stall(Struct, frozen=True, kw_only=True):
    """A wait for messages that are not stored yet: their worker is storing them, or has died.

    Attributes:
        before: all numbers below it were given when the wait began.
        since: when it began; seconds of the backend's clock.
    """

    before: int
    since: float


class Places(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stored state of one key of a concurrency limit.

    Attributes:
        name: the name of the limit.
        clock: the clock of all its times.
        holders: the tasks that hold a place.
        first: the number of the task that waits first.
        next: the number of the next task that waits. Nobody waits if both are equal.
        stall: the wait for the message of the first task; None: a free place has found none missing.
    """

    name: str
    clock: int
    holders: tuple[Holder, ...] = ()
    first: int = 0
    next: int = 0
    stall: Stall | None = None

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return self.next - self.first

    def holds(self, task_id: str) -> bool:
        """Whether a task holds a place."""
        return any(holder.task_id == task_id for holder in self.holders)

    def with_holder(self, holder: Holder) -> Places:
        """The places after a task took one."""
        return replace(self, holders=(*self.holders, holder))

    def without_first(self) -> Places:
        """The places after the task that waits first has left the line."""
        first = self.first + 1
        return replace(self, first=first, stall=self.stall if self.stall and first < self.stall.before else None)

    def stalled(self, now: float) -> Places:
        """The places after a free one has found no message of the task that waits first."""
        return self if self.stall else replace(self, stall=Stall(before=self.next, since=now))

    def is_overdue(self, now: float) -> bool:
        """Whether the message of the task that waits first has been missing for so long that its number is skipped."""
        return self.stall is not None and now - self.stall.since > _ENTRY_DELAY_SECONDS

    def came(self, task_id: str, now: float) -> Places:
        """The places after a task has come that was woken, or has waited for another limit."""
        return self._changed(task_id, lambda one: Holder(task_id=one.task_id, since=now))

    def waiting_elsewhere(self, task_id: str) -> Places:
        """The places after a task that holds one began to wait for another limit."""
        return self._changed(task_id, lambda one: Holder(task_id=one.task_id, since=one.since, waits=True))

    def _changed(self, task_id: str, change: Callable[[Holder], Holder]) -> Places:
        holders = tuple(change(one) if one.task_id == task_id else one for one in self.holders)
        return replace(self, holders=holders)

    def without(self, task_ids: set[str]) -> Places:
        """The places after tasks gave theirs up."""
        return replace(self, holders=tuple(one for one in self.holders if one.task_id not in task_ids))


def is_live(holder: Holder, record: TaskRecord | None, *, now: float, unix_now: float, grace_seconds: float) -> bool:
    """Whether a task still holds its place.

    Args:
        holder: the task.
        record: its record; None: there is none.
        now: seconds of the backend's clock.
        unix_now: Unix seconds, for leases.
        grace_seconds: how long a task may take from its place to its start.
    """
    if record is not None and record.state.terminal:
        return False
    if holder.waits:
        return record is not None
    started = record is not None and record.state is State.STARTED
    if started and record is not None and (record.leased_until is None or record.leased_until > unix_now):
        return True
    return now - holder.since <= (grace_seconds if holder.number is None else GRANT_SECONDS)
