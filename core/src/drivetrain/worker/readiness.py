"""Since when the task of a message could have begun: the start of the time for which it waits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from drivetrain.contract import State, TaskRecord
from drivetrain.worker.publisher import FOLLOWS_HEADER, PUBLISHED_HEADER

__all__ = ["ready_since"]

_PENDING, _STARTED = State.PENDING, State.STARTED

#: What `FOLLOWS_HEADER` holds instead of a time in messages of some versions, and where the time is not known.
_NO_TIME = 1.0


def ready_since(headers: Mapping[str, str], due: float | None, before: TaskRecord | None) -> float | None:
    """Since when a task could have begun, in Unix seconds; None: unknown, or its last start ended with a crash.

    That is when it was sent, when the task before it had ended, or when it was due: the latest of them. Each is by the
    clock of the process that did it.

    Args:
        headers: the headers of its message.
        due: when it is due, in Unix seconds; None: at once.
        before: its record before this start; None: there is none.
    """
    latest = -math.inf if due is None else due
    if before is not None:
        if before.state is _STARTED:
            return None
        pending = before.history.get(_PENDING)
        if pending is not None and pending.at > latest:
            latest = pending.at
    if len(headers) > 1:  # most messages have only the content type
        latest = max(latest, _time(headers, FOLLOWS_HEADER), _time(headers, PUBLISHED_HEADER))
    return latest if latest > _NO_TIME else None


def _time(headers: Mapping[str, str], name: str) -> float:
    """The time in a header, which another program may have written; minus infinity where there is none."""
    try:
        seconds = float(headers.get(name, "-inf"))
    except ValueError:
        return -math.inf
    return seconds if seconds < math.inf else -math.inf
