"""The plain form of a filter of dead letters, as an operation stores it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from drivetrain.app.dead_letters import DeadLetterFilter

__all__ = ["described", "letter_filter", "plain_filter"]

#: By how much the clocks of two machines may differ, in seconds.
_SKEW_SECONDS = 5.0


def plain_filter(where: DeadLetterFilter) -> Mapping[str, Any]:
    """The plain form; conditions that are left out are left out."""
    plain: dict[str, Any] = {}
    if where.task_ids:
        plain["task_ids"] = sorted(where.task_ids)
    if where.tasks:
        plain["tasks"] = sorted(where.tasks)
    if where.reason:
        plain["reason"] = where.reason
    if where.died_before is not None:
        plain["died_before"] = where.died_before.timestamp()
    if where.died_after is not None:
        plain["died_after"] = where.died_after.timestamp()
    return plain


def letter_filter(plain: Mapping[str, Any], *, asked_at: float) -> DeadLetterFilter:
    """The filter of `plain_filter`, for letters that were dead when an operation was asked for.

    Without this limit, a letter that was replayed and has died again would be replayed once more after a crash.

    Args:
        plain: the plain form.
        asked_at: when the operation was asked for, in Unix seconds.
    """
    last = min(plain.get("died_before", asked_at + _SKEW_SECONDS), asked_at + _SKEW_SECONDS)
    return DeadLetterFilter(
        task_ids=frozenset(plain.get("task_ids", ())),
        tasks=frozenset(plain.get("tasks", ())),
        reason=plain.get("reason", ""),
        died_before=datetime.fromtimestamp(last, UTC),
        died_after=datetime.fromtimestamp(plain["died_after"], UTC) if "died_after" in plain else None,
    )


def described(where: DeadLetterFilter) -> str:
    """The conditions in words, for operators; empty: there are none."""
    words = [
        *(f"id:{one}" for one in sorted(where.task_ids)[:3]),
        *(f"task:{one}" for one in sorted(where.tasks)),
        *([f"reason:{where.reason}"] if where.reason else []),
        *([f"died before {where.died_before.isoformat(timespec='seconds')}"] if where.died_before else []),
        *([f"died since {where.died_after.isoformat(timespec='seconds')}"] if where.died_after else []),
    ]
    return f" with {', '.join(words)}" if words else ""
