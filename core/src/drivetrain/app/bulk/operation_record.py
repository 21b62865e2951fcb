"""The stored state of an operation, and its audit entry. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

__all__ = ["Action", "AuditEntry", "OperationRecord", "OperationState", "Reason", "Target", "TaskIds"]


class Action(StrEnum):
    """What an operation does with each task.

    Attributes:
        CANCEL: cancels it, with all that waits for it.
        RETRY: runs it again as a new attempt, with all that waited for it.
        RUN_NOW: makes it due now.
        REPLAY: replays its dead letter.
        DROP: drops its dead letter.
    """

    CANCEL = "cancel"
    RETRY = "retry"
    RUN_NOW = "run-now"
    REPLAY = "replay"
    DROP = "drop"


class OperationState(StrEnum):
    """The states of an operation.

    Attributes:
        WAITING: stored, and not begun.
        RUNNING: begun. If its process dies, a worker goes on.
        DONE: it has acted on every task.
        STOPPED: an operator has stopped it.
        FAILED: an unexpected error has ended it.
        ended: whether it acts on no more tasks.
    """

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it acts on no more tasks."""
        return self not in {OperationState.WAITING, OperationState.RUNNING}


class Target(Struct, frozen=True):
    """A task on which an operation acts.

    Attributes:
        id: the id of the task.
        attempt: its latest attempt when the operation chose it; -1: unknown.
    """

    id: str
    attempt: int = -1


class TaskIds(Struct, frozen=True):
    """Some of the ids that were given to an operation.

    Attributes:
        ids: the ids, in their order.
    """

    ids: tuple[str, ...]


class Reason(Struct, frozen=True):
    """Why an operation has not acted on a task.

    Attributes:
        task_id: the id of the task.
        text: the reason.
    """

    task_id: str
    text: str


class OperationRecord(Struct, frozen=True, kw_only=True):
    """What is stored of an operation.

    Attributes:
        id: its id.
        action: what it does with each task.
        selection: the chosen tasks, in words.
        ids: how many ids were given; 0: it has a filter.
        where: the filter, plain; None: there is none.
        queue: the queue of the dead letters; empty: it acts on tasks.
        by: who asked for it; empty: unknown.
        why: the reason that was given; empty: none.
        created: when it was asked for, in Unix seconds.
        state: its state.
        runner: the process that works on it; empty: none has.
        began: when it began, in Unix seconds; None: it has not.
        ended: when it ended, in Unix seconds; None: it has not.
        cursor: where the next page begins; a text that only the selection reads. None: there is no next page.
        pending: the tasks of the present page, on which it acts or has acted.
        done: on how many tasks it has acted.
        skipped: how many tasks needed nothing.
        failed: on how many tasks it could not act.
        total: how many tasks were chosen when it began; None: not counted.
        exact: whether `total` is exact; otherwise it is the least number.
        notices: what the search for the tasks may have missed.
        skips: the first of the skipped tasks.
        errors: the first of the failed tasks.
        stop: whether it is to stop.
        stopped_by: who has stopped it; empty: unknown, or nobody.
        error: why it has the state FAILED; empty: it has not.
    """

    id: str
    action: Action
    selection: str
    ids: int = 0
    where: Mapping[str, Any] | None = None
    queue: str = ""
    by: str = ""
    why: str = ""
    created: float
    state: OperationState = OperationState.WAITING
    runner: str = ""
    began: float | None = None
    ended: float | None = None
    cursor: str | None = ""
    pending: tuple[Target, ...] = ()
    done: int = 0
    skipped: int = 0
    failed: int = 0
    total: int | None = None
    exact: bool = True
    notices: tuple[str, ...] = ()
    skips: tuple[Reason, ...] = ()
    errors: tuple[Reason, ...] = ()
    stop: bool = False
    stopped_by: str = ""
    error: str = ""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """The trace of an action: by whom, when, what, how many tasks.

    Attributes:
        operation: the id of the operation, or of the action on single tasks.
        at: when it was asked for, in Unix seconds.
        by: who asked for it; empty: unknown.
        action: what was done with each task.
        selection: the chosen tasks, in words.
        why: the reason that was given; empty: none.
        state: its state; RUNNING until its end is recorded.
        done, skipped, failed: see `OperationRecord`.
    """

    operation: str
    at: float
    by: str
    action: Action
    selection: str
    why: str = ""
    state: OperationState = OperationState.RUNNING
    done: int = 0
    skipped: int = 0
    failed: int = 0
