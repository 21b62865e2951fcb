"""Times on the command line: an age such as ``12h``, or a date."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from drivetrain.app.search_words import read_time

__all__ = ["moment"]


def moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read an option: ``30m`` for half an hour ago, or a date and time in ISO 8601, of UTC where it names no zone.

    Raises:
        BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        return read_time(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        use = "use one like 90s, 30m, 12h or 7d, or like 2026-11-30T12:00"
        raise click.BadParameter(f"{text!r} is not a time; {use}") from None
