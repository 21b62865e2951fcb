"""Changes every call of a workflow. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from drivetrain.workflow.frames import Call, Fork, Frame, Frames

__all__ = ["amend_calls"]


def amend_calls(frames: Frames, amend: Callable[[Call], Call]) -> Frames:
    """Frames with each call as ``amend`` returns it, those of members and callbacks too."""
    return tuple(_amended(frame, amend) for frame in frames)


def _amended(frame: Frame, amend: Callable[[Call], Call]) -> Frame:
    if isinstance(frame, Fork):
        return replace(frame, branches=_each(frame.branches, amend))
    if not isinstance(frame, Call):
        return frame
    if frame.has_callbacks:
        frame = replace(
            frame,
            on_success=_each(frame.on_success, amend),
            on_error=_each(frame.on_error, amend),
            workflow_on_error=_each(frame.workflow_on_error, amend),
        )
    return amend(frame)


def _each(workflows: tuple[Frames, ...], amend: Callable[[Call], Call]) -> tuple[Frames, ...]:
    return tuple(amend_calls(frames, amend) for frames in workflows)
