"""What a cache has dropped, and so will never lead to what waits for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from drivetrain.contract import Durability, State, TaskRecord
from drivetrain.worker.effects import waits
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import preceding
from drivetrain.workflow.wire import load_frames

__all__ = ["lost_tasks"]

#: After so many seconds a workflow that was being sent is there in all its parts, whatever clocks say.
_SENT_SECONDS = 5.0


def lost_tasks(runtime: Runtime, records: Sequence[TaskRecord]) -> Sequence[str]:
    """The ids of those that will never end: the backend, which may, has dropped what they wait for."""
    if runtime.backend.capabilities.durability is not Durability.CACHE:
        return ()
    since = runtime.clock.now() - _SENT_SECONDS
    waiting: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        pending = record.entries.get(State.PENDING)
        if pending is not None and pending.at < since and (told := waits(record, runtime.payloads)) is not None:
            waiting[told["in"]][record.task_id] = told.get("after", "")
    found = runtime.backend.read(list(waiting)) if waiting else ()
    return [
        task_id
        for behind, first in zip(waiting.values(), found, strict=False)
        for task_id in (_lost_after(runtime, behind) if first is None else _lost_behind(runtime, first, list(behind)))
    ]


def _lost_after(runtime: Runtime, behind: Mapping[str, str]) -> Sequence[str]:
    """Those of which what comes before them is gone, or what comes before that; with each goes what comes before it.

    This asks for one after the other: what they were sent with, which tells all of it, has ended and is kept no longer.
    """
    lost_tasks: list[str] = []
    while behind:
        ids = list(dict.fromkeys(behind.values()))
        known = dict(zip(ids, runtime.backend.read(ids), strict=True))
        lost_tasks += [task_id for task_id, earlier in behind.items() if known[earlier] is None]
        told = {earlier: waits(record, runtime.payloads) for earlier, record in known.items() if record is not None}
        further = {task_id: told.get(earlier) for task_id, earlier in behind.items()}
        behind = {task_id: one.get("after", "") for task_id, one in further.items() if one is not None}
    return lost_tasks


def _lost_behind(runtime: Runtime, first: TaskRecord, task_ids: Sequence[str]) -> Sequence[str]:
    """Those of ``task_ids``, which wait in what was sent with ``first``, of which nothing is known that leads to them.

    What leads to a task is the last thing before it that has begun.
    """
    if first.state is not State.SUCCESS or first.downstream is None:
        return ()  # it goes on, or whoever ended it ends what waits for it
    told = runtime.payloads.load(first.downstream)
    earlier = preceding(load_frames(told)) if isinstance(told, list) else {}
    paths = {task_id: _path(earlier, task_id) for task_id in task_ids}
    names = list(dict.fromkeys(one for path in paths.values() for one in path))
    known = dict(zip(names, runtime.backend.read(names), strict=True)) if names else {}
    waiting = {one for one, record in known.items() if record and waits(record, runtime.payloads)}
    begun = {task_id: next((one for one in path if one not in waiting), None) for task_id, path in paths.items()}
    return [task_id for task_id, last in begun.items() if last is not None and known[last] is None]


def _path(earlier: Mapping[str, str], task_id: str) -> list[str]:
    """What leads to a task, from the last to the first."""
    path = []
    while task_id := earlier.get(task_id, ""):
        path.append(task_id)
    return path
