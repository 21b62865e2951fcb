"""Scales: from values to coordinates, and where an axis has its ticks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from attrs import frozen

__all__ = ["Scale", "TimeTick", "duration_step", "nice_ceiling", "ticks", "time_ticks"]

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAY = 86_400


@frozen
class Scale:
    """A linear scale. A range of values without an extent is mapped to its start.

    Attributes:
        first: the first value.
        last: the last value.
        start: the coordinate of the first value.
        end: the coordinate of the last value.
    """

    first: float
    last: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of ``value``. Values outside of the range are drawn at its border."""
        extent = self.last - self.first
        if not 0 < extent < math.inf:
            return self.start
        share = min(max((value - self.first) / extent, 0.0), 1.0)
        return self.start + share * (self.end - self.start)


@frozen
class TimeTick:
    """A tick of an axis of time.

    Attributes:
        at: its time, in Unix seconds.
        text: ``21:40``, ``21:40:05``, or at midnight ``Nov 30``. UTC.
    """

    at: float
    text: str


def nice_ceiling(values: Iterable[float]) -> float:
    """The end of an axis from 0: the next 1, 2, 2.5 or 5 times a power of ten; 1 without values above 0."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    factor = next((factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= largest), 10.0)
    ceiling = factor * power
    return ceiling if math.isfinite(ceiling) and ceiling > 0 else largest


def ticks(ceiling: float, whole_numbers: bool) -> list[float]:
    """The values of an axis from 0 to ``ceiling``: the quarters; fewer where these would not be whole numbers."""
    for parts in (4, 2):
        if not whole_numbers or (ceiling / parts).is_integer():
            return [ceiling * part / parts for part in range(parts + 1)]
    return [0.0, ceiling]


def time_ticks(since: float, until: float, most: int) -> list[TimeTick]:
    """At most about ``most`` ticks of an axis of time, at round times of UTC."""
    if not (until > since and math.isfinite(until - since)):
        return []
    step = duration_step(until - since, most)
    first = math.ceil(since / step) * step
    found: list[TimeTick] = []
    for position in range(int((until - first) // step) + 1):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=first + position * step)
        midnight = moment.hour == moment.minute == moment.second == 0
        pattern = "%b %d" if midnight else "%H:%M:%S" if step < 60 else "%H:%M"
        found.append(TimeTick(first + position * step, moment.strftime(pattern)))
    return found


def duration_step(seconds: float, most: int) -> float:
    """A round number of seconds that divides a duration into about ``most`` parts or fewer."""
    least = seconds / max(most, 1)
    if least > _TIME_STEPS[-1]:
        return math.ceil(least / _DAY) * float(_DAY)
    if least >= _TIME_STEPS[0]:
        return float(next(step for step in _TIME_STEPS if step >= least))
    return nice_ceiling([least])
