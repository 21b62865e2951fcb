"""Times as whole numbers, as services take them. Pure."""

from __future__ import annotations

import math

__all__ = ["whole_units"]


def whole_units(seconds: float, *, per_second: int, longest_seconds: float) -> int:
    """A time as a whole number of units, rounded up so that nothing comes early.

    Args:
        seconds: any number: a negative one and NaN count as 0, infinity as the longest.
        per_second: how many units a second has: 1,000 for milliseconds.
        longest_seconds: what the service takes at most. Longer times become this one.
    """
    return math.ceil(min(max(0.0, seconds), longest_seconds) * per_second)
