"""From times of a local clock to instants, where that clock is turned forward or back. Pure.

There are two rules, those of Debian's cron:

- A *fixed* time, like 02:30, ticks once on each day of its calendar. Where the clock skips it, it ticks at the end of
  the gap. Where the clock shows it twice, it ticks the first time.
- A *frequency*, like 10 minutes, follows the elapsed time. Skipped times do not tick. Repeated times tick both times.

All instants are in UTC here, and all times of the local clock are naive.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

__all__ = ["elapsed_after", "fixed_after"]

#: The next match after a time of the local clock, as if that clock were never turned; None: there is none.
NextMatch: TypeAlias = Callable[[datetime], datetime | None]

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
#: More than any clock is turned at once: some islands have changed their date.
_MOST_TURNED = timedelta(hours=26)
#: A distance in which each hour is searched for a turn of the clock.
_NEAR = 4 * _MOST_TURNED


def fixed_after(instant: datetime, zone: ZoneInfo, next_match: NextMatch) -> datetime | None:
    """The first instant after this one of an expression that names times of the local clock."""
    wall = _wall(instant, zone)
    # While the clock repeats times, the first showing of the next match may be before `instant`.
    while (match := next_match(wall)) is not None:
        found = _first_instant(match, zone)
        if found > instant:
            return found
        wall = match
    return None


def elapsed_after(instant: datetime, zone: ZoneInfo, next_match: NextMatch) -> datetime | None:
    """The first instant after this one of an expression that means a frequency."""
    start, wall = instant, _wall(instant, zone)
    asked = wall
    while True:
        match = next_match(asked)
        end = None if match is None else start + (match - wall)
        near = end is not None and end - start <= _NEAR
        turn = _next_turn(start, end if near and end is not None else start + _MOST_TURNED, zone)
        if turn is not None:
            # From the turn on, the clock shows other times; the first one of them may match.
            start, wall = turn, _wall(turn, zone)
            asked = wall - _SECOND
        elif match is None or near:
            return end
        else:
            # Nothing matches until two days before the match. Begin there, for the clock may be turned on the way.
            start = _first_instant(match - 2 * _MOST_TURNED, zone)
            asked = wall = _wall(start, zone)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the local clock first shows this time; where it skips it, the end of the gap."""
    local = wall.replace(tzinfo=zone)
    instant = local.astimezone(UTC)
    if _wall(instant, zone) == wall:
        return instant
    return _turn_between(local.replace(fold=1).astimezone(UTC), instant, zone)


def _next_turn(start: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first instant after ``start``, and not after ``end``, from which on the local clock has another offset."""
    while start < end:
        step = min(start + _HOUR, end)
        if _offset(step, zone) != _offset(start, zone):
            return _turn_between(start, step, zone)
        start = step
    return None


def _turn_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant that has the offset of ``after``; ``before`` has another one. To the second."""
    offset = _offset(after, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle -= timedelta(microseconds=middle.microsecond)
        middle = max(middle, before + _SECOND)
        if _offset(middle, zone) == offset:
            after = middle
        else:
            before = middle
    return after


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
