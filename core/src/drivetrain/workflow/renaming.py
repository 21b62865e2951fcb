"""Gives every task and group of a workflow another id, and every task more headers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from drivetrain.workflow.frames import Call, Fork, Frame, Frames

__all__ = ["rename_frames"]


def rename_frames(frames: Frames, new_id: Callable[[str], str], headers: Mapping[str, str]) -> Frames:
    """Frames that are not sent yet, with other ids, those of members and callbacks too.

    Args:
        frames: the frames.
        new_id: returns the id in the place of another one.
        headers: headers to add to every call.
    """

    def each(workflows: tuple[Frames, ...]) -> tuple[Frames, ...]:
        return tuple(rename_frames(one, new_id, headers) for one in workflows)

    def renamed(frame: Frame) -> Frame:
        if isinstance(frame, Fork):
            return Fork(new_id(frame.group_id), each(frame.branches), frame.collect)
        if not isinstance(frame, Call):
            return frame
        changed = replace(frame, id=new_id(frame.id), headers={**frame.headers, **headers})
        if frame.has_callbacks:  # most have none
            changed = replace(
                changed,
                on_success=each(frame.on_success),
                on_error=each(frame.on_error),
                workflow_on_error=each(frame.workflow_on_error),
            )
        return changed

    return tuple(renamed(frame) for frame in frames)
