"""The plain form of invocations and frames in a message. Default values are left out.

``{"call": {"is": "call", "id", "task", "queue", "args", …}, "frames": […], "attempt", "rest"}``, as in
`drivetrain.workflow.frames`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from drivetrain.contract import InvalidSignature, Plain, Retries, SerializationError
from drivetrain.workflow.frames import Call, Fork, Frame, Frames, Invocation, Join
from drivetrain.workflow.nesting import DEEPEST, is_too_deep

__all__ = ["dump_frames", "dump_invocation", "load_frames", "load_invocation", "skeleton"]

#: The errors that msgspec raises for a wrong form. Our validators raise theirs through it.
_FORM_ERRORS = (msgspec.ValidationError, InvalidSignature, RecursionError)


def dump_invocation(invocation: Invocation) -> Plain:
    """The plain form of an invocation."""
    plain, call = msgspec.to_builtins(invocation), invocation.call
    if call.on_success or call.on_error or call.workflow_on_error or call.retries or not _joins(invocation.frames):
        return _lists(plain)
    # Only the arguments and the frames can be tuples here.
    if call.args:
        plain["call"]["args"] = list(plain["call"]["args"])
    if invocation.frames:
        plain["frames"] = list(plain["frames"])
    return plain


def load_invocation(plain: Plain) -> Invocation:
    """The invocation of a plain form.

    Raises:
        SerializationError: this is not an invocation.
    """
    try:
        invocation = msgspec.convert(plain, Invocation)
    except _FORM_ERRORS as error:
        raise SerializationError(f"this version of drivetrain cannot read the task: {error}") from error
    call = invocation.call
    carries = invocation.frames or call.on_success or call.on_error or call.workflow_on_error
    if carries and is_too_deep((call, *invocation.frames)):
        raise SerializationError(f"its groups or callbacks are nested more than {DEEPEST} levels deep")
    return invocation


def dump_frames(frames: Frames) -> list[Plain]:
    """The plain form of frames."""
    plain = msgspec.to_builtins(frames)
    return [*plain] if _joins(frames) else [*_lists(plain)]


def load_frames(plain: Plain) -> Frames:
    """The frames of a plain form.

    Raises:
        SerializationError: these are not frames.
    """
    try:
        return msgspec.convert(plain, Frames)
    except _FORM_ERRORS as error:
        raise SerializationError(f"this version of drivetrain cannot read the continuation: {error}") from error


def skeleton(frames: Frames) -> list[Plain]:
    """The plain form of ``frames`` with only the id of each call. It shows which task waits for which."""
    return dump_frames(_bare(frames))


def _bare(frames: Frames) -> Frames:
    return tuple(map(_bare_frame, frames))


def _bare_frame(frame: Frame) -> Frame:
    if isinstance(frame, Call):
        return Call(id=frame.id, task="", queue="")
    if isinstance(frame, Fork):
        return Fork(frame.group_id, tuple(map(_bare, frame.branches)), frame.collect)
    return frame


def _joins(frames: Frames) -> bool:
    """Whether ``frames`` contains only ends of branches, as those of a member of a group do."""
    return all(type(frame) is Join for frame in frames)


def _lists(plain: Any) -> Any:
    """``plain`` with lists instead of tuples, which not every serializer takes. It changes the containers in place."""
    root = [plain]
    pending: list[Any] = [root]
    while pending:
        container = pending.pop()
        for key, item in enumerate(container) if type(container) is list else container.items():
            if type(item) is tuple:
                container[key] = item = list(item)  # noqa: PLW2901 - the new list is inspected below
            if type(item) is list or type(item) is dict:
                pending.append(item)
    return root[0]


def _load_types() -> None:
    """Let msgspec inspect all types now.

    Otherwise it inspects a type at the first use, and two threads that do this at once crash the interpreter
    (msgspec 0.22.0).
    """
    call = Call(id="", task="", queue="", retries=Retries(policy="never", max_retries=0))
    join = Join("", 0, outer=Join("", 0), then="-")
    frames: Frames = (call, Fork("", ((call, join),)), join)
    load_invocation(_lists(msgspec.to_builtins(Invocation(call=replace(call, on_success=(frames,)), frames=frames))))
    load_frames(dump_frames(frames))


_load_types()
