"""The limit for the nesting of workflows and values.

The limit is far below the limits of serializers and their C code on every Python. So each message that is sent can be
read and settled everywhere, also from nested calls of the sender.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from drivetrain.workflow.frames import Call, Fork, Frame

__all__ = ["DEEPEST", "is_too_deep"]

#: The largest number of groups and callbacks around a task, and of containers around a value.
DEEPEST: Final = 100


def is_too_deep(frames: Sequence[Frame]) -> bool:
    """Whether groups or callbacks are nested more than `DEEPEST` levels deep."""
    level = list(frames)
    for _ in range(DEEPEST + 1):
        level = [inner for frame in level for inner in _inside(frame)]
        if not level:
            return False
    return True


def _inside(frame: Frame) -> Iterable[Frame]:
    if isinstance(frame, Call):
        return [one for then in (*frame.on_success, *frame.on_error, *frame.workflow_on_error) for one in then]
    if isinstance(frame, Fork):
        return [one for branch in frame.branches for one in branch]
    return () if frame.outer is None else (frame.outer,)
