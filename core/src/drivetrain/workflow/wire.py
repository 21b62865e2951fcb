"""How invocations and frames stand in a message: plain values with short keys, defaults left out.

``{"id", "task", "queue", "args", …, "attempt", "frames": […]}``; a frame is a call (an object with ``task``), a fork
(``{"group", "branches", "collect"}``) or a join (``[group id, index]``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import fields

from drivetrain.contract import InvalidSignature, Member, Plain, Retries, SerializationError
from drivetrain.workflow.frames import Call, Fork, Frame, Frames, Invocation, Join

__all__ = ["dump_frames", "dump_invocation", "load_frames", "load_invocation", "skeleton"]

_PLAIN_OPTIONS = tuple(
    attribute.name
    for attribute in fields(Call)
    if attribute.name not in {"id", "task", "queue", "args", "kwargs", "headers", "retries", "on_success", "on_error"}
)
_DEFAULTS = {attribute.name: attribute.default for attribute in fields(Call)}
_RETRIES = tuple(attribute.name for attribute in fields(Retries))
_TEXT, _NUMBER = (str,), (int, float)
#: What each field of a call must be: a message may come from anywhere, and is found wrong here or runs wild later.
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "task", "queue"), _TEXT),
    **dict.fromkeys(("eta", "delay", "expires_at", "expires_after", "timeout", "retention"), _NUMBER),
    **dict.fromkeys(("kwargs", "headers", "retries"), (dict,)),
    **dict.fromkeys(("args", "on_success", "on_error"), (list, tuple)),
    **dict.fromkeys(("immutable", "dead_letter", "ignore_unknown"), (bool,)),
    "message_group": _TEXT,
    "priority": (int,),
}


def dump_invocation(invocation: Invocation) -> dict[str, Plain]:
    """The plain form of an invocation."""
    plain = _dump_call(invocation.call)
    if invocation.attempt:
        plain["attempt"] = invocation.attempt
    if invocation.frames:
        plain["frames"] = dump_frames(invocation.frames)
    return plain


def load_invocation(plain: Plain) -> Invocation:
    """The invocation of a plain form.

    Raises:
        SerializationError: this is no invocation.
    """
    try:
        known = dict(plain)
        attempt, frames = known.pop("attempt", 0), known.pop("frames", ())
        if type(attempt) is not int or attempt < 0:
            raise TypeError(f"attempt is {attempt!r}")
        return Invocation(call=_load_call(known), frames=load_frames(frames), attempt=attempt)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError, InvalidSignature) as error:
        raise SerializationError(f"this is no task that this version of drivetrain can read: {error!r}") from error


def dump_frames(frames: Frames) -> list[Plain]:
    """The plain form of frames."""
    return [_dump_frame(frame) for frame in frames]


def load_frames(plain: Plain) -> Frames:
    """The frames of a plain form; raises what the wrong form makes it raise."""
    return tuple(_load_frame(frame) for frame in plain)


def skeleton(frames: Frames) -> list[Plain]:
    """The plain form of ``frames`` with nothing kept of a call but its id: enough to know what waits for what."""
    return dump_frames(_bare(frames))


def _bare(frames: Frames) -> Frames:
    return tuple(_bare_frame(frame) for frame in frames)


def _bare_frame(frame: Frame) -> Frame:
    if isinstance(frame, Call):
        return Call(id=frame.id, task="", queue="")
    if isinstance(frame, Fork):
        return Fork(frame.group_id, tuple(_bare(branch) for branch in frame.branches), frame.collect)
    return frame


def _dump_frame(frame: Frame) -> Plain:
    if isinstance(frame, Call):
        return _dump_call(frame)
    if isinstance(frame, Join):
        return [frame.member.group_id, frame.member.index]
    plain: dict[str, Plain] = {"group": frame.group_id, "branches": [dump_frames(branch) for branch in frame.branches]}
    return {**plain, "collect": True} if frame.collect else plain


def _load_frame(plain: Plain) -> Frame:
    if isinstance(plain, list):
        group_id, index = plain
        return Join(Member(group_id, index))
    if "group" in plain:
        return Fork(plain["group"], tuple(load_frames(branch) for branch in plain["branches"]), "collect" in plain)
    return _load_call(plain)


def _dump_call(call: Call) -> dict[str, Plain]:
    plain: dict[str, Plain] = {"id": call.id, "task": call.task, "queue": call.queue}
    if call.args:
        plain["args"] = list(call.args)
    if call.kwargs:
        plain["kwargs"] = dict(call.kwargs)
    if call.headers:
        plain["headers"] = dict(call.headers)
    for name in _PLAIN_OPTIONS:
        value = getattr(call, name)
        if value is not None and value != _DEFAULTS[name]:
            plain[name] = value
    if call.retries is not None:
        plain["retries"] = {name: _plain(getattr(call.retries, name)) for name in _RETRIES}
    if call.on_success:
        plain["on_success"] = [dump_frames(then) for then in call.on_success]
    if call.on_error:
        plain["on_error"] = [dump_frames(then) for then in call.on_error]
    return plain


def _plain(value: Any) -> Plain:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _load_call(plain: Mapping[str, Plain]) -> Call:
    known: dict[str, Any] = dict(plain)
    for name, value in known.items():
        if not isinstance(value, _TYPES[name]) or (value is True and bool not in _TYPES[name]):
            raise TypeError(f"{name} is {value!r}")
    if not all(isinstance(text, str) for text in known.get("headers", {}).values()):
        raise TypeError("a header is no text")
    known["args"] = tuple(known.get("args", ()))
    if "retries" in known:
        known["retries"] = Retries(**known["retries"])
    for name in ("on_success", "on_error"):
        if name in known:
            known[name] = tuple(load_frames(then) for then in known[name])
    return Call(**known)
