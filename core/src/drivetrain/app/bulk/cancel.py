"""Cancellation of many tasks by their ids."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.app.bulk.outcomes import TaskOutcome, done, failed, skipped
from drivetrain.app.sending import Sender
from drivetrain.contract import Backend, State, TaskRecord

__all__ = ["cancel_tasks"]


def cancel_tasks(backend: Backend, sender: Sender, task_ids: Sequence[str]) -> list[TaskOutcome]:
    """Cancel tasks that have not ended, with all that waits for them; the outcome of each, in order.

    Raises:
        ServiceError: the backend could not be reached.
    """
    before = backend.read(task_ids)
    # Those that are cancelled already too: an earlier call may have stopped before it cancelled what waits for them.
    chosen = [one.task_id for one in before if one is not None and not _ended_otherwise(one)]
    if chosen:
        sender.cancel(chosen)
    after = dict(zip(chosen, backend.read(chosen), strict=True))
    return [_outcome(task_id, one, after.get(task_id)) for task_id, one in zip(task_ids, before, strict=True)]


def _ended_otherwise(record: TaskRecord) -> bool:
    return record.state.terminal and record.state is not State.CANCELLED


def _outcome(task_id: str, before: TaskRecord | None, after: TaskRecord | None) -> TaskOutcome:
    if before is None:
        return failed(task_id, "the backend has no record of it: the id is wrong, or its retention is over")
    if before.state is State.CANCELLED:
        return skipped(task_id, "it is cancelled already")
    if before.state.terminal:
        return skipped(task_id, f"it has ended: it is {before.state}")
    if after is not None and after.state is not State.CANCELLED:
        return skipped(task_id, f"it has ended meanwhile: it is {after.state}")
    return done(task_id)
