"""Values of tasks as text. Pure."""

from __future__ import annotations

from drivetrain.cli.output import shown_in_lines

__all__ = ["LONGEST_TEXT", "cut", "shown_value"]

#: A longer text is cut. A page must not hold the megabytes that an argument may have.
LONGEST_TEXT = 20_000


def shown_value(value: object) -> str:
    """``repr`` of a value, over several lines where it is long, and cut where it is very long."""
    return cut(shown_in_lines(value))


def cut(text: str) -> str:
    """The first `LONGEST_TEXT` characters of a text, and how many follow."""
    more = len(text) - LONGEST_TEXT
    return f"{text[:LONGEST_TEXT]}\n… and {more:,} more characters" if more > 0 else text
