"""Downstream: what the record of a task or group says of the rest of its workflow.

A record has one of three forms in `TaskRecord.downstream`:

- ``{"in", "after"}``: the task waits for another one, whose record lists it; see `WaitsFor`.
- A list of frames with nothing in their calls but ids: the task has begun, and these follow it.
- ``{"then", "rest", "branches", "more", "callbacks", "replaced"}``: the same list, and what else is known; see
  `Downstream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from drivetrain.contract import Plain, State, TaskRecord
from drivetrain.worker.long_chains import LoadBodies, load_rest
from drivetrain.worker.payloads import Payloads
from drivetrain.workflow.advance import after
from drivetrain.workflow.frames import Call, Fork, Frame, Frames, ids, steps
from drivetrain.workflow.wire import load_frames, skeleton

__all__ = ["Callbacks", "Downstream", "WaitsFor", "downstream", "dump_downstream", "load_downstream", "waits_for"]

#: Reads records, in the order asked for.
Read = Callable[[Sequence[str]], Sequence[TaskRecord | None]]

#: The largest size of the branches that the record of a group lists: ten thousand members with ids of our own.
_MOST_BRANCHES_BYTES = 400_000
#: The states of tasks that may wait for other tasks.
_MAY_WAIT = frozenset({State.PENDING, State.RETRY})
#: What an id costs beside its own characters.
_ID_BYTES = 4


class WaitsFor(Struct, frozen=True):
    """What a task or group waits for.

    Attributes:
        first: the id of the task or group whose record lists it: the first task of its workflow, or the group around
            it.
        after: the id of its direct predecessor; empty: an older version did not record it.
    """

    first: str
    after: str = ""


class Callbacks(Struct, frozen=True, kw_only=True):
    """The callbacks of a task. Their calls have ids, names and queues, and nothing else.

    Attributes:
        on_success: sent when the task succeeds.
        on_error: sent when it fails; those of the chains and groups around it too.
    """

    on_success: tuple[Frames, ...] = ()
    on_error: tuple[Frames, ...] = ()


class Downstream(Struct, frozen=True, kw_only=True):
    """What follows a task or group that has begun.

    Attributes:
        frames: what follows it, with nothing in its calls but ids.
        rest: the key of the frames after those; empty: there are none. See `drivetrain.worker.long_chains`.
        branches: for a group: its members, in order, with nothing in their calls but ids.
        more: for a group: how many further members it has.
        callbacks: the callbacks of the task and of those that follow it, by the id of their task.
        replacement: for a task that was replaced: the steps for whose end it waits, with ids, names and queues. Where
            they are too many, the members of groups are left out.
    """

    frames: Frames = ()
    rest: str = ""
    branches: tuple[Frames, ...] = ()
    more: int = 0
    callbacks: Mapping[str, Callbacks] = field(default_factory=dict)
    replacement: Frames = ()


_NOTHING = Downstream()


def waits_for(record: TaskRecord, payloads: Payloads) -> WaitsFor | None:
    """What a task or group waits for; None: it has begun or ended, and waits for nothing.

    A task that was replaced has begun, and waits for its replacement.

    Raises:
        SerializationError: the record cannot be read.
    """
    if record.state not in _MAY_WAIT or record.downstream is None:
        return None
    if record.state is State.PENDING:
        return _waits_for(payloads.load(record.downstream))
    known = load_downstream(record, payloads)
    if not isinstance(known, Downstream) or not known.replacement:
        return None
    first, last = known.replacement[0], known.replacement[-1]
    return WaitsFor(first=next(ids((first,))), after=next(ids((last,))))


def load_downstream(record: TaskRecord, payloads: Payloads) -> Downstream | WaitsFor:
    """What the record of a task or group says of the rest of its workflow; nothing where it says nothing.

    Raises:
        SerializationError: the record cannot be read.
    """
    plain = None if record.downstream is None else payloads.load(record.downstream)
    if isinstance(plain, list):
        return Downstream(frames=load_frames(plain))
    if not isinstance(plain, dict):
        return _NOTHING
    return _waits_for(plain) or Downstream(
        frames=load_frames(plain.get("then", [])),
        rest=plain.get("rest", ""),
        branches=tuple(map(_frames, plain.get("branches", ()))),
        more=plain.get("more", 0),
        callbacks={task_id: _callbacks(one) for task_id, one in plain.get("callbacks", {}).items()},
        replacement=_frames(plain.get("replaced", ())),
    )


def dump_downstream(
    frames: Frames,
    *,
    rest: str = "",
    call: Call | None = None,
    branches: Sequence[Frames] = (),
    replacement: Frames = (),
    largest_bytes: int | None = None,
) -> Plain:
    """The plain form of what follows a task or group; None: nothing does.

    Args:
        frames: the frames that follow it.
        rest: the key of the frames after those; empty: there are none.
        call: the task; None: it is a group.
        branches: the branches of the group.
        replacement: what replaces the task, which has run; empty: nothing does.
        largest_bytes: the size of the largest value that the backend stores; None: unlimited.
    """
    if call is not None and not (frames or rest or replacement or call.has_callbacks):
        return None  # as for most tasks
    found = [*([] if call is None else [call]), *steps(frames)]
    callbacks = {each.id: _plain_callbacks(each) for each in _with_callbacks(found)}
    if not (branches or callbacks or rest or replacement):
        return skeleton(frames) if frames else None
    known: dict[str, Plain] = {"then": skeleton(frames)}
    if rest:
        known["rest"] = rest
    largest = _MOST_BRANCHES_BYTES if largest_bytes is None else min(_MOST_BRANCHES_BYTES, largest_bytes // 3)
    if replacement:
        whole = sum(map(_size, steps(replacement))) <= largest
        known["replaced"] = _outline(replacement if whole else _without_members(replacement), named=True)
    if branches:
        known["branches"], known["more"] = _listed(branches, largest)
    if callbacks:
        known["callbacks"] = callbacks
    return known


def downstream(records: Sequence[TaskRecord], payloads: Payloads, read: Read, load_bodies: LoadBodies) -> list[Frames]:
    """The frames that wait for each of ``records``. Most calls have nothing but ids.

    The record of a task that has begun holds them, or names where the backend stores them. One that waits for another
    task names the first task of its workflow, whose record holds the frames of all; they are unknown, and empty here,
    when that record is gone.
    """
    known = [load_downstream(record, payloads) for record in records]
    firsts = list(dict.fromkeys(one.first for one in known if isinstance(one, WaitsFor)))
    found = {one.task_id: load_downstream(one, payloads) for one in (read(firsts) if firsts else ()) if one is not None}
    return [
        (after(_own_frames(found.get(one.first, _NOTHING)), record.task_id) or ())
        if isinstance(one, WaitsFor)
        else (*one.frames, *load_rest(one.rest, payloads, load_bodies).frames)
        for record, one in zip(records, known, strict=True)
    ]


def _own_frames(known: Downstream | WaitsFor) -> Frames:
    return known.frames if isinstance(known, Downstream) else ()


def _waits_for(plain: Plain) -> WaitsFor | None:
    return WaitsFor(plain["in"], plain.get("after", "")) if isinstance(plain, dict) and "in" in plain else None


# Branches: an id stands for a task, and {"group", "branches"} for a group.


def _listed(branches: Sequence[Frames], largest_bytes: int) -> tuple[list[Plain], int]:
    """The plain form of the first branches, and how many further ones there are."""
    listed: list[Plain] = []
    size = 0
    for number, branch in enumerate(branches):
        size += sum(map(_size, steps(branch)))
        if size > largest_bytes:
            return listed, len(branches) - number
        only = branch[0] if len(branch) == 1 else None
        listed.append(only.id if isinstance(only, Call) else _outline(branch))
    return listed, 0


def _size(step: Call | Fork) -> int:
    return _ID_BYTES + (len(step.id) if isinstance(step, Call) else 3 * _ID_BYTES + len(step.group_id))


def _outline(frames: Iterable[Frame], *, named: bool = False) -> list[Plain]:
    """The plain form of frames without their joins; ``named``: with the names and queues of tasks."""
    plain: list[Plain] = []
    for frame in frames:
        if isinstance(frame, Call):
            plain.append({"id": frame.id, "task": frame.task, "queue": frame.queue} if named else frame.id)
        elif isinstance(frame, Fork):
            plain.append(
                {"group": frame.group_id, "branches": [_outline(branch, named=named) for branch in frame.branches]}
            )
    return plain


def _frames(plain: Any) -> Frames:
    return (Call(id=plain, task="", queue=""),) if isinstance(plain, str) else tuple(map(_frame, plain))


def _frame(plain: Any) -> Frame:
    if isinstance(plain, str):
        return Call(id=plain, task="", queue="")
    if "group" in plain:
        return Fork(plain["group"], tuple(map(_frames, plain["branches"])))
    return Call(id=plain["id"], task=plain["task"], queue=plain["queue"])


def _without_members(frames: Frames) -> Frames:
    return tuple(Fork(frame.group_id, ()) if isinstance(frame, Fork) else frame for frame in frames)


# Callbacks


def _with_callbacks(found: Iterable[Call | Fork]) -> Iterable[Call]:
    """The calls in ``found`` that have callbacks, and those among the callbacks themselves."""
    remaining = list(found)
    while remaining:
        step = remaining.pop()
        if isinstance(step, Call) and step.has_callbacks:
            yield step
            for then in (*step.on_success, *step.on_error, *step.workflow_on_error):
                remaining += steps(then)


def _plain_callbacks(call: Call) -> dict[str, Plain]:
    on_error = (*call.on_error, *call.workflow_on_error)
    return {
        name: [_outline(then, named=True) for then in each]
        for name, each in (("on_success", call.on_success), ("on_error", on_error))
        if each
    }


def _callbacks(plain: Any) -> Callbacks:
    return Callbacks(
        on_success=tuple(map(_frames, plain.get("on_success", ()))),
        on_error=tuple(map(_frames, plain.get("on_error", ()))),
    )
