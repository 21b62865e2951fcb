"""Numbers, durations and times in words, for people. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

__all__ = ["UNKNOWN", "age", "amount", "duration", "exact_time", "iso_time", "number"]

#: Written where a value is not known.
UNKNOWN = "\N{EN DASH}"
#: From this amount on, `number` rounds to three digits and a letter.
_COMPACT_FROM = 100_000
_LETTERS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DAY, _HOUR, _MINUTE = 86_400, 3600, 60


def number(value: float) -> str:
    """A number as ``12,345``, ``1.23 M`` or ``0.25``; `UNKNOWN` if it is not finite."""
    if not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    if size >= _COMPACT_FROM:
        divisor, letter = next(one for one in _LETTERS if size >= one[0])
        scaled = value / divisor
        return f"{scaled:.3g} {letter}" if abs(scaled) < 999.5 else f"{scaled:.2e} {letter}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if size >= 999.5 else f"{value:.3g}"


def amount(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun: ``1 task``, ``3 tasks``."""
    return f"{number(count)} {singular if count == 1 else plural or singular + 's'}"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units: ``35 ms``, ``4.2 s``, ``3 min 20 s``, ``2 d 5 h``; `UNKNOWN` if unknown."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:
        return f"-{duration(-seconds)}"
    return _short(seconds) if seconds < 59.95 else _long(round(seconds))


def _short(seconds: float) -> str:
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s"


def _long(rounded: int) -> str:
    if rounded < _HOUR:
        return _two(rounded, _MINUTE, "min", 1, "s")
    if rounded < _DAY:
        return _two(rounded, _HOUR, "h", _MINUTE, "min")
    return _two(rounded, _DAY, "d", _HOUR, "h")


def age(then: float | None, now: float) -> str:
    """How long ago something was, or in how long it will be: ``3 min 20 s ago``, ``in 5 s``, ``now``."""
    if then is None or not math.isfinite(then):
        return UNKNOWN
    elapsed = now - then
    if abs(elapsed) < 0.5:
        return "now"
    return f"{duration(_rounded(elapsed))} ago" if elapsed > 0 else f"in {duration(_rounded(-elapsed))}"


def exact_time(moment: float | None) -> str:
    """Unix seconds as ``2026-11-30 21:46:18.250 UTC``; `UNKNOWN` if they are unknown, or out of the calendar."""
    found = _utc(moment)
    return UNKNOWN if found is None else f"{found:%Y-%m-%d %H:%M:%S}.{found.microsecond // 1000:03} UTC"


def iso_time(moment: float | None) -> str:
    """Unix seconds as a ``<time>`` element takes them: ``2026-11-30T21:46:18.250Z``; empty if they are unknown."""
    found = _utc(moment)
    return "" if found is None else f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03}Z"


def _utc(moment: float | None) -> datetime | None:
    try:
        return None if moment is None else datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _rounded(seconds: float) -> float:
    """An age needs no fraction of a second."""
    return float(max(1, round(seconds)))


def _two(seconds: int, large: int, large_name: str, small: int, small_name: str) -> str:
    major, rest = divmod(seconds, large)
    minor = rest // small
    return f"{major} {large_name} {minor} {small_name}" if minor else f"{major} {large_name}"
