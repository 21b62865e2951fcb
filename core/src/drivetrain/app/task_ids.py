"""Ids of tasks: checks that one id stands for one task. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import TypeAlias

from drivetrain.contract import InvalidSignature, TaskRecord
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.workflow.frames import Call, Fork, Frames

__all__ = ["check_known", "names", "parts"]

#: Whether two names are those of one task, which may have been renamed.
Same: TypeAlias = Callable[[str, str], bool]


def parts(planned: Iterable[Frames]) -> Iterator[Call | Fork]:
    """All tasks and groups of these workflows, callbacks included, in any order."""
    remaining = list(planned)
    while remaining:
        for frame in remaining.pop():
            if isinstance(frame, Call):
                yield frame
                if frame.has_callbacks:  # most have none
                    remaining += (*frame.on_success, *frame.on_error, *frame.workflow_on_error)
            elif isinstance(frame, Fork):
                yield frame
                remaining += frame.branches


def names(planned: Iterable[Frames], same: Same = eq) -> dict[str, str]:
    """The name of the task of every id in these workflows, callbacks included.

    Args:
        planned: the workflows.
        same: whether two names are those of one task.

    Raises:
        InvalidSignature: an id is given to two different tasks.
    """
    found: dict[str, str] = {}
    for part in parts(planned):
        task_id, name = (part.id, part.task) if isinstance(part, Call) else (part.group_id, GROUP_TASK)
        if not same(found.setdefault(task_id, name), name):
            raise _taken(task_id, found[task_id], name)
    return found


def check_known(given: Mapping[str, str], records: Sequence[TaskRecord | None], same: Same) -> None:
    """Check ids that users gave against what is recorded under them.

    Args:
        given: the names of tasks by id.
        records: what is known of these ids, in the same order.
        same: whether two names are those of one task.

    Raises:
        InvalidSignature: an id belongs to another task.
    """
    for (task_id, name), record in zip(given.items(), records, strict=True):
        if record is not None and record.task and not same(record.task, name):
            raise _taken(task_id, record.task, name)


def _taken(task_id: str, owner: str, name: str) -> InvalidSignature:
    return InvalidSignature(
        f"the id {task_id!r} belongs to task {owner}, so task {name} cannot be sent under it; "
        "give it another task_id, or leave task_id out"
    )
