"""Bounding what is logged, and kept as the reason of a dead letter: a task's error may be of any length. Pure."""

from __future__ import annotations

__all__ = ["LONGEST_LOGGED", "MOST_LINES", "shortened", "shortened_lines"]

#: How many characters of a message, and of a line of a traceback, are shown.
LONGEST_LOGGED = 2000
#: How many lines of a traceback are shown.
MOST_LINES = 400


def shortened(text: str, longest: int = LONGEST_LOGGED) -> str:
    """``text``; of a longer one its first ``longest`` characters, and how many it has."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def shortened_lines(text: str, longest: int = LONGEST_LOGGED, most: int = MOST_LINES) -> str:
    """``text`` with each line `shortened`; of more than ``most`` lines the first and the last half."""
    lines = text.split("\n")
    omitted = len(lines) - most
    if omitted <= 0:
        return "\n".join(shortened(line, longest) for line in lines)
    head, tail = lines[: most // 2], lines[most // 2 + omitted :]
    head, tail = ([shortened(line, longest) for line in part] for part in (head, tail))
    return "\n".join([*head, f"... ({omitted:,} lines left out)", *tail])
