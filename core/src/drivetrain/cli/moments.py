"""Times on the command line: an age such as ``12h``, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

__all__ = ["moment"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read an option: ``30m`` for half an hour ago, or a date and time in ISO 8601, of UTC where it names no zone.

    Raises:
        BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        return _read(text)
    except (ValueError, OverflowError):
        use = "use one like 90s, 30m, 12h or 7d, or like 2026-11-30T12:00"
        raise click.BadParameter(f"{text!r} is not a time; {use}") from None


def _read(text: str) -> datetime:
    ago = re.fullmatch("([0-9]+)([smhd])", text)
    if ago is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.utcoffset() is None else found
