"""When a schedule ticks, as users write it: ``cron("30 2 * * mon-fri", tz="Europe/Paris")``, ``every(minutes=5)``.

Each function returns a `drivetrain.contract.ScheduleSpec`: the kind of timetable and its parameters, which are checked
when the schedule is declared. A third-party timetable is ``ScheduleSpec("sunrise", {"latitude": 48.9, …})``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from drivetrain.contract import ConfigurationError, ScheduleSpec

__all__ = ["at", "cron", "every"]


def cron(expression: str, *, tz: str = "UTC") -> ScheduleSpec:
    """When the local clock of a zone matches a cron expression.

    Args:
        expression: minute, hour, day of month, month and day of week, as in Debian's cron; or six fields with seconds
            first; or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.
        tz: the name of the zone in the IANA database, like ``Europe/Paris``.
    """
    return ScheduleSpec("cron", {"cron": expression, "tz": tz})


def every(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    phase: timedelta | float = 0,
) -> ScheduleSpec:
    """At equal distances, counted from 1970 in UTC, so that no restart moves them.

    Args:
        weeks: a part of the distance, which is 1 second or more.
        days: another part.
        hours: another part.
        minutes: another part.
        seconds: another part.
        phase: by how much the ticks come later than the full distance, in seconds: ``every(hours=1, phase=600)`` ticks
            ten minutes past each hour.
    """
    period = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    later = phase.total_seconds() if isinstance(phase, timedelta) else phase
    return ScheduleSpec("every", {"seconds": period, "phase": later})


def at(instants: Iterable[datetime]) -> ScheduleSpec:
    """At each of these instants.

    Args:
        instants: aware datetimes, in any order.

    Raises:
        ConfigurationError: one of them has no time zone.
    """
    return ScheduleSpec("at", {"instants": [_text(instant) for instant in instants]})


def _text(instant: datetime) -> str:
    if instant.utcoffset() is None:
        raise ConfigurationError(f"at holds {instant!r}; it must hold datetimes with a time zone")
    return instant.isoformat()
