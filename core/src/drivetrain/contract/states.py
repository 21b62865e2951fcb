"""The states of a task, what is recorded of it, and the one rule by which a record changes.

`apply` is the whole state machine. A backend that can run Python between reading a record and writing it atomically
(a lock, a transaction, compare-and-set) calls it, or decides by `grants`, counts by `starts_after` and writes the other
fields itself as `apply` does; one that decides inside its service does what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

__all__ = [
    "GroupProgress",
    "Member",
    "Outcome",
    "State",
    "StateChange",
    "TaskRecord",
    "Transition",
    "apply",
    "grants",
    "starts_after",
]


class State(StrEnum):
    """The states of a task: PENDING → RECEIVED → STARTED → (RETRY → …) → one of the four terminal ones."""

    PENDING = "PENDING"
    RECEIVED = "RECEIVED"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    #: Whether no transition ever leaves this state.
    terminal: bool

    def __init__(self, value: str) -> None:
        # No property: every record of a task asks this several times.
        self.terminal = value in {"SUCCESS", "FAILURE", "CANCELLED", "EXPIRED"}


class StateChange(Struct, frozen=True):
    """The last time at which a task entered a state, and who recorded it."""

    #: Unix seconds, by the clock of who recorded it.
    at: float
    #: The worker's name; empty when it was recorded by a sender.
    worker: str = ""


class Member(Struct, frozen=True):
    """One member's place in a group."""

    group_id: str
    #: Counted from 0.
    index: int


class Transition(Struct, frozen=True, kw_only=True):
    """A wish to change a task's record. `apply` says when it is granted."""

    task_id: str
    state: State
    #: Which attempt this is about; the first is 0.
    attempt: int = 0
    #: Unix seconds.
    at: float
    #: The name of the worker that asks; empty for a sender.
    worker: str = ""
    #: The name of the task; kept from the first transition that tells it.
    task: str = ""
    #: The run that asks, unique for each time that a worker starts a task. None: not asked by a run
    #: (sent, cancelled, failed because of an earlier task).
    run: str | None = None
    #: For STARTED: how long the run may go on without a renewal, in seconds.
    lease: float | None = None
    #: For STARTED: when the message was received (Unix seconds), which is recorded as the entry of RECEIVED.
    received_at: float | None = None
    #: The result or the failure, encoded; before that, what the next start and a rescue need. Opaque to the backend.
    #: None: the record keeps the one that it has.
    payload: bytes | None = None
    #: What waits for this task, encoded. Opaque to the backend; kept from the last transition that tells it.
    downstream: bytes | None = None
    #: For terminal states: how long the record is kept afterwards, in seconds. None: for ever.
    retention: float | None = None
    #: For terminal states: the place in a group that this completes, when (and only when) it is granted.
    member: Member | None = None


class TaskRecord(Struct, frozen=True, kw_only=True):
    """What a backend knows of a task."""

    task_id: str
    state: State
    attempt: int = 0
    task: str = ""
    #: The last run that was granted a transition.
    run: str | None = None
    #: Until when the run of a STARTED task holds it (Unix seconds, by the backend's clock); else None.
    leased_until: float | None = None
    #: How often the present attempt was started; more than 1 means that its worker died, or lost its lease.
    starts: int = 0
    payload: bytes | None = None
    downstream: bytes | None = None
    #: The last entry of each state that the task was ever in.
    entries: Mapping[State, StateChange] = field(default_factory=dict)
    #: When the record goes (Unix seconds, by the backend's clock); None while unfinished, or for ever.
    expires_at: float | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a transition."""

    #: Whether it was granted.
    applied: bool
    #: The record as it was before; None when there was none.
    before: TaskRecord | None
    #: For a granted transition with a `member`: how the group stands now; None when the group is not known.
    group: GroupProgress | None = None


class GroupProgress(Struct, frozen=True, kw_only=True):
    """How a group stands, read in the same atomic step as the completion that it answers."""

    size: int
    #: How many distinct members are complete.
    done: int
    #: A member failed and the group does not collect failures: it will never be complete.
    failed: bool = False

    @property
    def complete(self) -> bool:
        """Whether every member is complete and the group goes on."""
        return self.done == self.size and not self.failed


def apply(before: TaskRecord | None, wish: Transition, now: float) -> TaskRecord | None:
    """The record after ``wish``, or None when it is refused. Pure.

    This is `grants`, and the new record. A driver for which making records is too dear may decide by `grants` and write
    the fields by itself, so that what can be read afterwards is what this returns.

    Args:
        before: the record as it is, or None when there is none.
        wish: the transition that is asked for.
        now: Unix seconds by the backend's clock; leases and expiry are counted from it.
    """
    if not grants(before, wish, now):
        return None
    return _enter(before or TaskRecord(task_id=wish.task_id, state=wish.state), wish, now)


def grants(before: TaskRecord | None, wish: Transition, now: float) -> bool:
    """Whether ``wish`` is granted. Pure; the arguments are those of `apply`.

    Of ``before`` it looks at nothing but `state`, `attempt`, `run` and `leased_until`: a driver need know no more.
    """
    if before is None or before.state.terminal:
        return before is None
    if wish.state is State.PENDING:
        return before.state is State.PENDING
    if wish.state is State.STARTED:
        return _may_start(before, wish, now)
    if wish.state is State.EXPIRED and _held(before, now):
        return False  # it was started in time
    if wish.run is None:
        return wish.state.terminal
    # Only the run that holds the task speaks for it: one that lost its lease to another is fenced off.
    return before.state is State.STARTED and before.run == wish.run


def _may_start(before: TaskRecord, wish: Transition, now: float) -> bool:
    if wish.attempt < before.attempt:
        return False
    if wish.attempt > before.attempt:
        return True
    if before.state is State.RETRY:
        return False  # this attempt is over; the next one has its own message
    return before.run == wish.run or not _held(before, now)


def _held(record: TaskRecord, now: float) -> bool:
    return record.state is State.STARTED and record.leased_until is not None and record.leased_until > now


def _enter(before: TaskRecord, wish: Transition, now: float) -> TaskRecord:
    started = wish.state is State.STARTED
    entries = dict(before.entries)
    if started and wish.received_at is not None:
        entries[State.RECEIVED] = StateChange(wish.received_at, wish.worker)
    if not (wish.state is State.PENDING and State.PENDING in entries):  # when it was first sent stays known
        entries[wish.state] = StateChange(wish.at, wish.worker)
    # Written out, not evolved: this is the hottest spot of every backend that runs it.
    return TaskRecord(
        task_id=before.task_id,
        state=wish.state,
        attempt=max(before.attempt, wish.attempt),
        task=wish.task or before.task,
        run=before.run if wish.run is None else wish.run,
        leased_until=now + wish.lease if started and wish.lease is not None else None,
        starts=starts_after(before, wish),
        payload=before.payload if wish.payload is None else wish.payload,
        downstream=before.downstream if wish.downstream is None else wish.downstream,
        entries=entries,
        expires_at=now + wish.retention if wish.state.terminal and wish.retention is not None else None,
    )


def starts_after(before: TaskRecord | None, wish: Transition) -> int:
    """`TaskRecord.starts` once ``wish`` is granted. Pure; it looks at what `grants` looks at, and at `starts`."""
    started = wish.state is State.STARTED
    if before is None:
        return int(started and (wish.run is not None or wish.attempt > 0))
    if wish.state is State.RECEIVED:
        return max(0, before.starts - 1)  # given back unharmed: that start does not count as a crash
    if not started:
        return before.starts
    if wish.attempt > before.attempt:
        return 1
    return before.starts if before.state is State.STARTED and before.run == wish.run else before.starts + 1
