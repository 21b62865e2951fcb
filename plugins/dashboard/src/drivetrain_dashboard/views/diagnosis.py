"""Why the tasks of a queue wait: one sentence, the most likely reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.worker.status import WorkerStatus

__all__ = ["GROWS_PER_MINUTE", "diagnosis"]

#: A queue that grows by fewer ready messages in a minute is not said to grow.
GROWS_PER_MINUTE = 10.0


def diagnosis(
    *,
    ready: int,
    paused: bool,
    pause_reason: str,
    serving: Sequence[WorkerStatus],
    per_minute: float | None,
) -> str:
    """Why the ready tasks of a queue wait; empty: none wait, or nothing is wrong.

    Args:
        ready: how many messages are ready.
        paused: whether the queue is paused.
        pause_reason: why it is paused; empty: unknown.
        serving: the workers that serve it and do not stop.
        per_minute: by how many messages it grows in a minute; None: unknown.
    """
    if not ready:
        return ""
    if paused:
        return f"It is paused: {pause_reason}." if pause_reason else "It is paused."
    if not serving:
        return "No worker serves it."
    blocked = [one for one in serving if one.blocked]
    if len(blocked) == len(serving):
        return f"Its workers are blocked: {blocked[0].blocked}."
    slots, running = sum(sum(one.slots.values()) for one in serving), sum(one.running_count for one in serving)
    pace = ""
    if per_minute is not None and per_minute >= GROWS_PER_MINUTE:
        pace = f" It grows by {per_minute:,.0f} tasks in a minute."
    if running >= slots:
        return f"All {slots:,} slots of its workers are busy.{pace}"
    return f"Its workers have free slots.{pace}" if pace else ""
