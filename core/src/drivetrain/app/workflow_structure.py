"""The structure of a workflow that was sent, from its records: which tasks and groups follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from drivetrain.app.decoding import is_group
from drivetrain.contract import State, TaskRecord
from drivetrain.worker.downstream import Callbacks, Downstream, WaitsFor, load_downstream
from drivetrain.worker.payloads import Payloads
from drivetrain.workflow.frames import Call, Fork, Frames, Join, ids

__all__ = ["Read", "Structure", "all_steps", "find_sequence", "step_id", "structure_around"]

#: Reads records, in the order asked for.
Read = Callable[[Sequence[str]], Sequence[TaskRecord | None]]


class Structure(Struct, frozen=True, kw_only=True):
    """What is known of the structure of a workflow. Calls in it have ids, and nothing else that can be relied on.

    Attributes:
        workflow: the id of its first task or group.
        forgotten: the ids of steps before ``frames`` that have no record any more, in order.
        frames: its steps.
        callbacks: the callbacks of its tasks, by the id of the task.
        unlisted: for groups: how many members their record does not list, by the id of the group.
        added: for groups: members that their record does not list and that were found otherwise: by the id of the
            group, and by index.
        replacements: what has replaced tasks that have run, by the id of the task.
    """

    workflow: str
    forgotten: tuple[str, ...] = ()
    frames: Frames
    callbacks: Mapping[str, Callbacks] = field(default_factory=dict)
    unlisted: Mapping[str, int] = field(default_factory=dict)
    added: Mapping[str, Mapping[int, Frames]] = field(default_factory=dict)
    replacements: Mapping[str, Frames] = field(default_factory=dict)


def structure_around(record: TaskRecord, read: Read, payloads: Payloads) -> Structure:
    """The structure of the workflow of ``record``, as far as records tell it. It contains the task or group itself.

    Args:
        record: the record of any task or group of the workflow.
        read: reads records.
        payloads: decodes them.

    Raises:
        SerializationError: a record cannot be read.
    """
    workflow = _workflow_of(record, payloads)
    (first,) = (record,) if workflow == record.task_id else read([workflow])
    if first is None:
        top = _earliest(record, (), read)
        missing = dict.fromkeys(one for one in (workflow, top.parent) if one and one != top.task_id)
        structure = replace(_structure_from(top, payloads), workflow=workflow, forgotten=tuple(missing))
    else:
        structure = _structure_from(first, payloads)
    steps = {step_id(step) for step in all_steps(structure)}
    return structure if record.task_id in steps else _with_added(structure, record, steps, read, payloads)


def all_steps(structure: Structure) -> Iterator[Call | Fork]:
    """All tasks and groups of a workflow, callbacks included, in any order."""
    for frames in _sequences(structure):
        for frame in frames:
            if not isinstance(frame, Join):
                yield frame


def find_sequence(structure: Structure, task_id: str) -> Frames:
    """The steps of the innermost chain, branch or callback around a task or group, up to it; empty: it is not there."""
    for frames in _sequences(structure):
        for number, frame in enumerate(frames, 1):
            if not isinstance(frame, Join) and step_id(frame) == task_id:
                return frames[:number]
    return ()


def step_id(step: Call | Fork) -> str:
    """The id of a task or group."""
    return step.id if isinstance(step, Call) else step.group_id


def _sequences(structure: Structure) -> Iterator[Frames]:
    """All chains, branches and callbacks of a workflow, in any order."""
    remaining: list[Frames] = [structure.frames]
    for callbacks in structure.callbacks.values():
        remaining += (*callbacks.on_success, *callbacks.on_error)
    for members in structure.added.values():
        remaining += members.values()
    remaining += structure.replacements.values()
    while remaining:
        frames = remaining.pop()
        yield frames
        for frame in frames:
            if isinstance(frame, Fork):
                remaining += frame.branches


def _workflow_of(record: TaskRecord, payloads: Payloads) -> str:
    if record.workflow:
        return record.workflow
    known = load_downstream(record, payloads)  # older versions recorded it for waiting tasks only
    return known.first if isinstance(known, WaitsFor) else record.task_id


def _earliest(record: TaskRecord, known: set[str] | tuple[()], read: Read) -> TaskRecord:
    """The earliest record before ``record``, up to one whose predecessor is missing or ``known``."""
    while record.parent and record.parent not in known:
        (earlier,) = read([record.parent])
        if earlier is None:
            break
        record = earlier
    return record


def _structure_from(top: TaskRecord, payloads: Payloads) -> Structure:
    """The structure from a step on that has a record."""
    known = load_downstream(top, payloads)
    begun = known if isinstance(known, Downstream) else Downstream()
    if is_group(top):
        first: Call | Fork = Fork(top.task_id, begun.branches)
    else:
        first = Call(id=top.task_id, task=top.task, queue=top.queue)
    return Structure(
        workflow=top.task_id,
        frames=(first, *(frame for frame in begun.frames if not isinstance(frame, Join))),
        callbacks=begun.callbacks,
        unlisted={top.task_id: begun.more} if begun.more else {},
        replacements={top.task_id: begun.replacement} if begun.replacement else {},
    )


def _with_added(structure: Structure, record: TaskRecord, steps: set[str], read: Read, payloads: Payloads) -> Structure:
    """The structure with a step that it does not list: a member of a large group, or a callback of an older version."""
    top = _earliest(record, steps, read)
    own = _structure_from(top, payloads)
    if top.parent not in steps:
        missing = (structure.workflow, top.parent) if top.parent else ()
        return replace(own, workflow=structure.workflow, forgotten=tuple(dict.fromkeys(missing)))
    callbacks = {**structure.callbacks, **own.callbacks}
    known = load_downstream(top, payloads)
    last = known.frames[-1] if isinstance(known, Downstream) and known.frames else None
    if isinstance(last, Join) and last.group_id == top.parent:
        added = {**structure.added, top.parent: {last.index: own.frames}}
        return replace(structure, callbacks=callbacks, added=added)
    (parent,) = read([top.parent])
    replaced = None if parent is None else load_downstream(parent, payloads)
    if isinstance(replaced, Downstream) and top.task_id in ids(replaced.replacement):
        replacements = {**structure.replacements, top.parent: replaced.replacement}
        return replace(structure, replacements=replacements)
    failed = parent is not None and parent.state in {State.FAILURE, State.EXPIRED}
    callbacks[top.parent] = Callbacks(on_error=(own.frames,)) if failed else Callbacks(on_success=(own.frames,))
    return replace(structure, callbacks=callbacks)
