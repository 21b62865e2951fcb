"""Bounding what is logged and kept as a reason: a task's error may be of any length."""

from __future__ import annotations

__all__ = ["LONGEST_LOGGED", "shortened"]

#: How many characters of one message are logged, and kept as the reason of a dead letter.
LONGEST_LOGGED = 2000


def shortened(text: str, longest: int = LONGEST_LOGGED) -> str:
    """``text``; of a longer one its first ``longest`` characters, and how many it has."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
