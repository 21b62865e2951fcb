"""Times and sizes in words. Pure. A value that is not a number is shown as it is."""

from __future__ import annotations

from typing import Any

__all__ = ["in_bytes", "in_seconds", "is_number"]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def is_number(value: object) -> bool:
    """Whether ``value`` is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_seconds(value: Any) -> str:
    """A time of ``value`` seconds. It is never longer than ``value``: digits are cut, not rounded."""
    if not is_number(value):
        return f"{value!s} seconds"
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if value >= size and (value % size == 0 or value >= 10 * size):
            return _counted(value * 10 // size / 10, unit)
    return _counted(value, "second")


def in_bytes(value: Any) -> str:
    """A size of ``value`` bytes."""
    if not is_number(value):
        return f"{value!s} bytes"
    units = ((1 << 30, "GiB"), (1 << 20, "MiB"), (10**6, "MB"), (1 << 10, "KiB"))
    for size, unit in units:
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:,} bytes"


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
