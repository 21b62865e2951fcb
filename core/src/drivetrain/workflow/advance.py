"""Advance: pure functions from frames and an event to the effects that follow. No I/O, no clock, no threads.

Values and failures are plain here (see `drivetrain.workflow.values`). Effects and events are structs of msgspec: each
task makes some (see docs/decisions/0016-msgspec.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

from drivetrain.contract import Member, Plain, State
from drivetrain.workflow.frames import NOTHING, Call, Fork, Frames, Invocation, Join, Nothing, calls, ids

__all__ = [
    "Complete",
    "Effect",
    "End",
    "Event",
    "Failed",
    "Open",
    "Publish",
    "Resumed",
    "Return",
    "Succeeded",
    "advance",
    "after",
    "preceding",
]


class Publish(Struct, frozen=True):
    """Publish this invocation."""

    invocation: Invocation
    #: The id of the first task or group of its workflow; empty: it is a workflow by itself.
    workflow: str = ""
    #: The id of the task or group after which it runs, or of the group whose member it is; empty: there is none.
    parent: str = ""


class Open(Struct, frozen=True):
    """Open this group. Comes before every effect on its members."""

    group_id: str
    size: int
    collect: bool
    #: The frames that continue with the list of results when the group is complete.
    continuation: Frames
    #: As for `Publish`.
    workflow: str = ""
    parent: str = ""
    #: The frames of its members, without the joins at their ends.
    branches: tuple[Frames, ...] = ()


class Complete(Struct, frozen=True):
    """This member of a group has ended: with a value, or with a failure."""

    join: Join
    value: Plain
    failure: Plain = None
    #: The state in which it ended.
    state: State = State.SUCCESS
    #: The id of the first task or group of its workflow; empty: unknown.
    workflow: str = ""

    @property
    def member(self) -> Member:
        """The member that has ended."""
        return self.join.member

    def outward(self, failure: Plain) -> tuple[Complete, ...]:
        """The effects of a loss of the group itself, with ``failure`` as its cause.

        A group in an outer group ends there as a failed member. The frames between the two were lost with the group.
        """
        outer = self.join.outer
        return () if outer is None else (Complete(outer, None, failure, State.FAILURE, self.workflow),)


class End(Struct, frozen=True):
    """This task or group has ended without being run."""

    task_id: str
    state: State
    failure: Plain = None


class Return(Struct, frozen=True):
    """The replacement of this task has succeeded: the task ends with its value, and then ``frames`` continue."""

    call: Call
    value: Plain
    frames: Frames = ()
    #: As for `Publish`.
    workflow: str = ""


Effect: TypeAlias = Publish | Open | Complete | End | Return


class Resumed(Struct, frozen=True):
    """The step before ``frames`` has ended with this value; NOTHING: a workflow begins."""

    value: Plain | Nothing = NOTHING
    #: The id of that step: a group that is complete; empty: there is none, or it is unknown.
    after: str = ""


class Succeeded(Struct, frozen=True):
    """A call has succeeded with this value."""

    call: Call
    value: Plain


class Failed(Struct, frozen=True):
    """The step before ``frames`` has finally failed. ``call`` was run; None: it was a group, or an earlier task."""

    failure: Plain
    call: Call | None = None
    state: State = State.FAILURE


Event: TypeAlias = Resumed | Succeeded | Failed


def advance(frames: Frames, event: Event, *, workflow: str = "", rest: str = "") -> tuple[Effect, ...]:
    """The effects of an ``event`` that happened right before ``frames``.

    The same event always gives the same effects with the same ids, so repeating them changes nothing.

    Args:
        frames: the continuation.
        event: what happened.
        workflow: the id of the first task or group of the workflow; empty: unknown.
        rest: the key of the frames that follow ``frames``; empty: none follow. Only a call takes them over: load them
            first for all other events. See `drivetrain.worker.long_chains`.
    """
    if isinstance(event, Resumed):
        return tuple(_resume(frames, event.value, workflow, event.after))
    if isinstance(event, Succeeded):
        call = event.call
        callbacks = (effect for then in call.on_success for effect in _resume(then, event.value, workflow, call.id))
        return (*callbacks, *_resume(frames, event.value, workflow, call.id, rest))
    return (
        *_error_callbacks(event, workflow),
        *_abandon(frames, event, workflow),
        *_callbacks_of_abandoned(frames, event, workflow),
    )


def _resume(frames: Frames, value: Plain | Nothing, workflow: str, parent: str, unloaded: str = "") -> Iterator[Effect]:
    if not frames:
        return
    top, rest = frames[0], frames[1:]
    if isinstance(top, Call):
        if top.replaced:
            yield Return(top, None if isinstance(value, Nothing) else value, rest, workflow)
            return
        yield Publish(Invocation(call=top.receive(value), frames=rest, rest=unloaded), workflow, parent)
    elif isinstance(top, Join):
        yield Complete(top, value, workflow=workflow)
    elif top.branches:
        yield Open(top.group_id, len(top.branches), top.collect, rest, workflow, parent, top.branches)
        outer, then = _around(rest)
        for index, branch in enumerate(top.branches):
            yield from _resume((*branch, Join(top.group_id, index, outer, then)), value, workflow, top.group_id)
    else:
        yield End(top.group_id, State.SUCCESS)
        yield from _resume(rest, [], workflow, top.group_id)


def _around(rest: Frames) -> tuple[Join | None, str]:
    """For a group with ``rest`` after it: its `Join` in the outer group, and the id of the step before that."""
    if not rest or not isinstance(rest[-1], Join):
        return None, ""
    return rest[-1], next(ids(rest), "")


def _error_callbacks(event: Failed, workflow: str) -> Iterator[Effect]:
    if event.call is not None and event.state is not State.CANCELLED:
        for then in (*event.call.on_error, *event.call.workflow_on_error):
            yield from _resume(then, event.failure, workflow, event.call.id)


def _abandon(frames: Frames, event: Failed, workflow: str) -> Iterator[Effect]:
    for frame in frames:
        if isinstance(frame, Join):
            yield Complete(frame, None, event.failure, event.state, workflow)
        else:
            for task_id in ids((frame,)):
                yield End(task_id, event.state, event.failure)


def _callbacks_of_abandoned(frames: Frames, event: Failed, workflow: str) -> Iterator[Effect]:
    # Error callbacks of the outer workflows are left out: they were sent for the task that failed.
    if event.state is not State.CANCELLED:
        for call in calls(frames):
            for then in call.on_error:
                yield from _resume(then, event.failure, workflow, call.id)


def after(frames: Frames, task_id: str) -> Frames | None:
    """The frames that wait for the task or group ``task_id`` inside ``frames``; None if it is not there.

    For a task in a branch of a group that fails with its members, these are the rest of its branch, the group, and all
    that comes after the group. For a group that collects failures, they are the rest of the branch.
    """
    for index, frame in enumerate(frames):
        rest = frames[index + 1 :]
        if isinstance(frame, Call) and frame.id == task_id:
            return rest
        if isinstance(frame, Fork):
            if frame.group_id == task_id:
                return rest
            for branch in frame.branches:
                if (found := after(branch, task_id)) is not None:
                    return found if frame.collect else (*found, Fork(frame.group_id, ()), *rest)
    return None


def preceding(frames: Frames, first: str = "") -> dict[str, str]:
    """For each task and group in ``frames``: the id of the step that ends, or is opened, right before it begins.

    Args:
        frames: the frames.
        first: the id of the step before ``frames``.
    """
    found: dict[str, str] = {}
    for frame in frames:
        if isinstance(frame, Call):
            found[frame.id] = first
            first = frame.id
        elif isinstance(frame, Fork):
            found[frame.group_id] = first
            first = frame.group_id
            for branch in frame.branches:
                found.update(preceding(branch, first))
    return found
