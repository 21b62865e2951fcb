"""Lost results: tasks that can never run, because a cache has dropped a record on which they depend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from drivetrain.contract import Durability, State, TaskRecord
from drivetrain.worker.downstream import Downstream, load_downstream, waits_for
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import preceding

__all__ = ["lost_tasks"]

#: A workflow that was sent this long ago has been recorded completely, also with clocks that differ; in seconds.
_SENT_SECONDS = 5.0


def lost_tasks(runtime: Runtime, records: Sequence[TaskRecord]) -> Sequence[str]:
    """The ids of waiting tasks that will never run, because the backend has dropped what they depend on.

    Args:
        runtime: the drivers of the app. Only a backend that is a cache drops records.
        records: the records of the tasks.
    """
    if runtime.backend.capabilities.durability is not Durability.CACHE:
        return ()
    latest = runtime.clock.now() - _SENT_SECONDS
    #: By the task or group with which they were sent: the waiting tasks, each with its predecessor.
    predecessors: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        pending = record.history.get(State.PENDING)
        if pending is not None and pending.at < latest and (waiting := waits_for(record, runtime.payloads)) is not None:
            predecessors[waiting.first][record.task_id] = waiting.after
    found = runtime.backend.read(list(predecessors)) if predecessors else ()
    return [
        task_id
        for waiting, first in zip(predecessors.values(), found, strict=False)
        for task_id in (_lost_after(runtime, waiting) if first is None else _lost_in(runtime, first, list(waiting)))
    ]


def _lost_after(runtime: Runtime, predecessors: Mapping[str, str]) -> Sequence[str]:
    """Tasks with a predecessor whose record is missing, directly or further back.

    It reads one predecessor after the other, since the record that lists all of them has expired.

    Args:
        runtime: the drivers of the app.
        predecessors: the id of the predecessor of each task.
    """
    lost: list[str] = []
    while predecessors:
        ids = list(dict.fromkeys(predecessors.values()))
        known = dict(zip(ids, runtime.backend.read(ids), strict=True))
        lost += [task_id for task_id, earlier in predecessors.items() if known[earlier] is None]
        waiting = {
            earlier: waits_for(record, runtime.payloads) for earlier, record in known.items() if record is not None
        }
        further = {task_id: waiting.get(earlier) for task_id, earlier in predecessors.items()}
        predecessors = {task_id: one.after for task_id, one in further.items() if one is not None}
    return lost


def _lost_in(runtime: Runtime, first: TaskRecord, task_ids: Sequence[str]) -> Sequence[str]:
    """Tasks of a workflow whose last begun predecessor has no record any more.

    Args:
        runtime: the drivers of the app.
        first: the record of the first task of the workflow, which lists the others.
        task_ids: the waiting tasks.
    """
    if first.state is not State.SUCCESS:
        return ()  # it continues, or its end ends the tasks that depend on it
    follows = load_downstream(first, runtime.payloads)
    earlier = preceding(follows.frames) if isinstance(follows, Downstream) else {}
    paths = {task_id: _path(earlier, task_id) for task_id in task_ids}
    names = list(dict.fromkeys(one for path in paths.values() for one in path))
    known = dict(zip(names, runtime.backend.read(names), strict=True)) if names else {}
    waiting = {one for one, record in known.items() if record and waits_for(record, runtime.payloads)}
    begun = {task_id: next((one for one in path if one not in waiting), None) for task_id, path in paths.items()}
    return [task_id for task_id, last in begun.items() if last is not None and known[last] is None]


def _path(earlier: Mapping[str, str], task_id: str) -> list[str]:
    """The predecessors of a task, from the last to the first."""
    path = []
    while task_id := earlier.get(task_id, ""):
        path.append(task_id)
    return path
