"""The states of a task, its record, and the rule by which a record changes.

`apply` is the whole state machine. A backend that reads a record, runs Python and writes the record atomically (behind
a lock, in a transaction, by compare-and-set) calls it. A faster one decides by `grants`, counts by `starts_after`, and
writes the other fields as `apply` does. A backend that decides inside its service implements the same rule there.
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
    """The states of a task: PENDING → RECEIVED → STARTED → (RETRY → …) → one of the four terminal states.

    Attributes:
        PENDING: sent, and not yet received by a worker.
        RECEIVED: received by a worker, or released by one before its end.
        STARTED: an attempt runs.
        RETRY: an attempt has failed, and another one will follow.
        SUCCESS: terminal; the task has a result.
        FAILURE: terminal; the task has failed for the last time.
        CANCELLED: terminal; the task was cancelled, or one that it needed.
        EXPIRED: terminal; the task was not started in time.
        terminal: whether no transition ever leaves this state.
    """

    PENDING = "PENDING"
    RECEIVED = "RECEIVED"
    STARTED = "STARTED"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    terminal: bool

    def __init__(self, value: str) -> None:
        # An attribute, because every record of a task reads it several times, and a property is slower.
        self.terminal = value in {"SUCCESS", "FAILURE", "CANCELLED", "EXPIRED"}


class StateChange(Struct, frozen=True):
    """The last time at which a task entered a state.

    Attributes:
        at: when, in Unix seconds by the clock of the recording process.
        worker: the name of the worker that recorded it; empty for a sender.
    """

    at: float
    worker: str = ""


class Member(Struct, frozen=True):
    """The identity of a group's member.

    Attributes:
        group_id: the id of the group.
        index: the position of the member, from 0 to the group's size - 1.
    """

    group_id: str
    index: int


class Transition(Struct, frozen=True, kw_only=True):
    """A requested change of a task's record. `apply` says when it is granted.

    Attributes:
        task_id: the id of the task.
        state: the requested state.
        attempt: the attempt that this is about, 0 or more; the first is 0.
        at: when the change happened, in Unix seconds by the clock of the requesting process.
        worker: the name of the requesting worker; empty for a sender.
        task: the name of the task; empty: the record keeps its own.
        queue: the queue of its message; empty: the record keeps its own.
        workflow: the id of the first task or group of its workflow; empty: the record keeps its own.
        parent: the id of the task after which it runs, or of the group whose member it is; empty: the record keeps its
            own.
        run: the requesting run. It is unique for each time that a worker starts a task. None: no run requests this (the
            task is sent, cancelled, or fails because of an earlier task).
        lease: for STARTED: for how many seconds from now the run holds the task without a renewal; None: no lease.
        received_at: for STARTED: when the message was received, in Unix seconds. It is recorded as the entry of
            RECEIVED.
        payload: the encoded result or failure; before the end, what the next start and a rescue need. Opaque to the
            backend. None: the record keeps its own.
        downstream: what waits for this task, encoded. Opaque to the backend. None: the record keeps its own.
        retention: for terminal states: for how many seconds from now the record is kept, 0 or more; None: for ever.
        member: for terminal states: the member of a group that this completes if, and only if, it is granted.
    """

    task_id: str
    state: State
    attempt: int = 0
    at: float
    worker: str = ""
    task: str = ""
    queue: str = ""
    workflow: str = ""
    parent: str = ""
    run: str | None = None
    lease: float | None = None
    received_at: float | None = None
    payload: bytes | None = None
    downstream: bytes | None = None
    retention: float | None = None
    member: Member | None = None


class TaskRecord(Struct, frozen=True, kw_only=True):
    """What a backend stores of a task.

    Attributes:
        task_id: the id of the task.
        state: the state of the task.
        attempt: the latest attempt, 0 or more; the first is 0.
        task: the name of the task; empty: unknown.
        queue: the queue of its message; empty: unknown, or a group.
        workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself, or unknown.
        parent: the id of the task after which it runs, or of the group whose member it is; empty: there is none.
        run: the last run that was granted a transition; None: none was.
        leased_until: until when the run of a STARTED task holds it, in Unix seconds by the backend's clock; None in
            other states, and without a lease.
        starts: how often the present attempt was started, 0 or more. More than 1 means that a worker died or lost its
            lease.
        payload: see `Transition.payload`; None: never given.
        downstream: see `Transition.downstream`; None: never given.
        history: the last change to each state that the task was ever in. A start that was given back is not in it.
        expires_at: when the record expires, in Unix seconds by the backend's clock; None: unfinished, or kept for ever.
    """

    task_id: str
    state: State
    attempt: int = 0
    task: str = ""
    queue: str = ""
    workflow: str = ""
    parent: str = ""
    run: str | None = None
    leased_until: float | None = None
    starts: int = 0
    payload: bytes | None = None
    downstream: bytes | None = None
    history: Mapping[State, StateChange] = field(default_factory=dict)
    expires_at: float | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a transition.

    Attributes:
        applied: whether it was granted.
        before: the record before it; None: there was none.
        group: for a granted terminal transition with a `member`: the progress of its group afterwards. None for every
            other transition, and for an unknown group.
    """

    applied: bool
    before: TaskRecord | None
    group: GroupProgress | None = None


class GroupProgress(Struct, frozen=True, kw_only=True):
    """The progress of a group, read in the same atomic step as the completion that it answers.

    Attributes:
        size: how many members the group has, 0 or more.
        done: how many distinct members have ended, failed ones included: 0 to `size`.
        failed: whether a member has failed and the group does not collect failures. It will never be complete then.
    """

    size: int
    done: int
    failed: bool = False

    @property
    def complete(self) -> bool:
        """Whether every member has ended and the group continues."""
        return self.done == self.size and not self.failed


def apply(before: TaskRecord | None, transition: Transition, now: float) -> TaskRecord | None:
    """The record after a transition, or None if the transition is refused. Pure.

    A driver for which it costs too much to make records may decide by `grants` and write the fields itself. What can be
    read afterwards must be what this function returns.

    Args:
        before: the present record; None: there is none, or it has expired.
        transition: the requested transition.
        now: Unix seconds by the backend's clock. Leases and expiry count from it.
    """
    if not grants(before, transition, now):
        return None
    return _enter(before or TaskRecord(task_id=transition.task_id, state=transition.state), transition, now)


def grants(before: TaskRecord | None, transition: Transition, now: float) -> bool:
    """Whether a transition is granted. Pure; the arguments are those of `apply`.

    It reads only `state`, `attempt`, `run` and `leased_until` of ``before``: a driver need read no more either.
    """
    if before is None or before.state.terminal:
        return before is None
    if transition.state is State.PENDING:
        return before.state is State.PENDING
    if transition.state is State.STARTED:
        return _may_start(before, transition, now)
    if transition.state is State.EXPIRED and _held(before, now):
        return False  # it was started in time
    if transition.run is None:
        return transition.state.terminal
    # Only the run that holds the task may change it: a run that lost its lease to another one is refused.
    return before.state is State.STARTED and before.run == transition.run


def _may_start(before: TaskRecord, transition: Transition, now: float) -> bool:
    if transition.attempt < before.attempt:
        return False
    if transition.attempt > before.attempt:
        return True
    if before.state is State.RETRY:
        return False  # this attempt is over; the next one has its own message
    return before.run == transition.run or not _held(before, now)


def _held(record: TaskRecord, now: float) -> bool:
    return record.state is State.STARTED and record.leased_until is not None and record.leased_until > now


def _enter(before: TaskRecord, transition: Transition, now: float) -> TaskRecord:
    started = transition.state is State.STARTED
    history = dict(before.history)
    if started and transition.received_at is not None:
        history[State.RECEIVED] = StateChange(transition.received_at, transition.worker)
    if transition.state is State.RECEIVED:
        history.pop(State.STARTED, None)  # a worker gave it back: that start does not count
    if not (transition.state is State.PENDING and State.PENDING in history):  # keep the time of the first sending
        history[transition.state] = StateChange(transition.at, transition.worker)
    # Without evolve, which is slower: every backend that runs Python makes each of its records here.
    return TaskRecord(
        task_id=before.task_id,
        state=transition.state,
        attempt=max(before.attempt, transition.attempt),
        task=transition.task or before.task,
        queue=transition.queue or before.queue,
        workflow=transition.workflow or before.workflow,
        parent=transition.parent or before.parent,
        run=before.run if transition.run is None else transition.run,
        leased_until=now + transition.lease if started and transition.lease is not None else None,
        starts=starts_after(before, transition),
        payload=before.payload if transition.payload is None else transition.payload,
        downstream=before.downstream if transition.downstream is None else transition.downstream,
        history=history,
        expires_at=now + transition.retention
        if transition.state.terminal and transition.retention is not None
        else None,
    )


def starts_after(before: TaskRecord | None, transition: Transition) -> int:
    """`TaskRecord.starts` after a granted transition. Pure. It reads what `grants` reads, and `starts`."""
    started = transition.state is State.STARTED
    if before is None:
        return int(started and (transition.run is not None or transition.attempt > 0))
    if transition.state is State.RECEIVED:
        return max(0, before.starts - 1)  # a worker gave it back: that start does not count as a crash
    if not started:
        return before.starts
    if transition.attempt > before.attempt:
        return 1
    return before.starts if before.state is State.STARTED and before.run == transition.run else before.starts + 1
