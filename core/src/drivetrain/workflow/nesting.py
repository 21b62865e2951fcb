"""How deep workflows and values may be nested.

The limit is far below what serializers, and the C code below them, take on any Python. So what is sent can be carried,
read and settled everywhere, and a sender's own calls may be nested too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from drivetrain.workflow.frames import Call, Fork, Frame

__all__ = ["DEEPEST", "is_too_deep"]

#: So many levels of groups and callbacks may be around a task, and so many containers around a value.
DEEPEST: Final = 100


def is_too_deep(frames: Sequence[Frame]) -> bool:
    """Whether groups, or callbacks, are nested deeper than is allowed."""
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
