"""Checks of the numbers and durations that limits are given."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeAlias

from drivetrain.contract import InvalidSignature

__all__ = ["Duration", "positive", "seconds"]

#: Seconds, or a timedelta.
Duration: TypeAlias = float | timedelta


def seconds(what: str, duration: object) -> float:
    """A duration in seconds, more than 0.

    Raises:
        InvalidSignature: it is something else; ``what`` names it in the error.
    """
    return positive(what, duration.total_seconds() if isinstance(duration, timedelta) else duration)


def positive(what: str, number: object) -> float:
    """A finite number, more than 0.

    Raises:
        InvalidSignature: it is something else; ``what`` names it in the error.
    """
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise InvalidSignature(f"{what} is {number!r}; use a number that is more than 0")
    return float(number)
