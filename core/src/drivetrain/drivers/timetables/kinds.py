"""The timetables that come with drivetrain: ``cron``, ``every``, ``at``.

An instant is a point of time, whatever local clocks show. Cron expressions are matched against the local clock of a
zone; `drivetrain.drivers.timetables.wall_clock` says what happens where that clock is turned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen
from cronsim import CronSim, CronSimError

from drivetrain.contract import ConfigurationError, Plain, Timetable, hookimpl
from drivetrain.drivers.timetables.wall_clock import elapsed_after, fixed_after

__all__ = ["At", "Cron", "Every", "make_timetable"]

#: The longest cron expression.
_LONGEST_EXPRESSION = 500
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A period is at least one second, and at most a hundred years, in milliseconds.
_SHORTEST_PERIOD, _LONGEST_PERIOD = 1000, 100 * 366 * 86_400_000
#: The most instants of `At`.
_MOST_INSTANTS = 10_000


@frozen
class Cron:
    """The instants at which the local clock of a zone matches a cron expression.

    Attributes:
        expression: five fields as in Debian's cron, or six with seconds first, or a name like ``@daily``.
        tz: the name of the zone, as in the IANA database.
    """

    expression: str
    tz: str = "UTC"
    _zone: ZoneInfo = field(init=False, eq=False, repr=False)
    _matches: CronSim = field(init=False, eq=False, repr=False)
    #: Whether it names hours and minutes, and so means times of the local clock; otherwise it means a frequency.
    _fixed: bool = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        text = _NAMED.get(self.expression.strip().lower(), self.expression)
        object.__setattr__(self, "_zone", _zone(self.tz))
        object.__setattr__(self, "_matches", _parsed(self.expression, text))
        fields = text.split()
        object.__setattr__(
            self, "_fixed", len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")
        )

    def after(self, instant: datetime) -> datetime | None:
        """See `Timetable.after`."""
        find = fixed_after if self._fixed else elapsed_after
        return find(instant.astimezone(UTC), self._zone, self._next)

    def _next(self, wall: datetime) -> datetime | None:
        """The next match after a time of the local clock, as if that clock were never turned."""
        matches = copy(self._matches)  # it keeps its position, and several threads may ask
        matches.dt = wall.replace(microsecond=0)
        return next(matches, None)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # there is no such zone, or this cannot be its name
        raise _unknown_zone(name) from error


def _unknown_zone(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"tz is {name!r}, which is not in the time zone database; use a name like 'Europe/Paris'. "
        "If it should be there, pip install --upgrade tzdata"
    )


def _parsed(expression: str, text: str) -> CronSim:
    try:
        if len(text) > _LONGEST_EXPRESSION:
            raise CronSimError(f"it has more than {_LONGEST_EXPRESSION} characters")
        return CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001 - a time of a local clock, without a zone
    except (CronSimError, ValueError) as error:
        raise ConfigurationError(
            f"the cron expression {expression[:100]!r} is wrong: {error}; write minute, hour, day of month, month and "
            "day of week, like '30 2 * * mon-fri'"
        ) from error


@frozen
class Every:
    """Instants of equal distance, counted from 1970 in UTC: no restart moves them.

    Attributes:
        seconds: the distance, 1 or more.
        phase: by how much the instants come later, in seconds.
    """

    seconds: float
    phase: float = 0.0

    def after(self, instant: datetime) -> datetime | None:
        """See `Timetable.after`."""
        # In whole milliseconds: floats would find an instant twice, or none.
        period, phase = round(self.seconds * 1000), round(self.phase * 1000)
        passed = (instant - _EPOCH) // _MILLISECOND
        return _EPOCH + ((passed - phase) // period * period + period + phase) * _MILLISECOND


@frozen
class At:
    """A list of instants.

    Attributes:
        instants: the instants, in order.
    """

    instants: tuple[datetime, ...]

    def after(self, instant: datetime) -> datetime | None:
        """See `Timetable.after`."""
        position = bisect_right(self.instants, instant)
        return self.instants[position] if position < len(self.instants) else None


def _cron(parameters: dict[str, Any]) -> Timetable:
    return Cron(_text("cron", parameters), _text("tz", parameters))


def _text(name: str, parameters: dict[str, Any]) -> str:
    value = parameters[name]
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is {value!r}; it must be a text")
    return value


def _every(parameters: dict[str, Any]) -> Timetable:
    seconds, phase = (_number(name, parameters[name]) for name in ("seconds", "phase"))
    if not _SHORTEST_PERIOD <= seconds * 1000 <= _LONGEST_PERIOD:
        raise ConfigurationError(f"the period is {seconds} seconds; it must be 1 second or more, and at most 100 years")
    return Every(seconds, phase)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
        raise ConfigurationError(f"{name} is {value!r}; it must be a number of seconds")
    return value


def _at(parameters: dict[str, Any]) -> Timetable:
    texts = parameters["instants"]
    if not isinstance(texts, (list, tuple)) or not 0 < len(texts) <= _MOST_INSTANTS:
        raise ConfigurationError(f"at needs a list of 1 to {_MOST_INSTANTS} instants")
    return At(tuple(sorted({_instant(text) for text in texts})))


def _instant(text: object) -> datetime:
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.utcoffset() is None:
        raise ConfigurationError(f"an instant is {text!r}; write it with its zone, like '2026-05-01T12:00:00+02:00'")
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


#: The maker of each kind, and its parameters with their defaults; ``...`` where there is none.
_KINDS: Mapping[str, tuple[Callable[[dict[str, Any]], Timetable], Mapping[str, Any]]] = {
    "cron": (_cron, {"cron": ..., "tz": "UTC"}),
    "every": (_every, {"seconds": ..., "phase": 0.0}),
    "at": (_at, {"instants": ...}),
}


@hookimpl
def make_timetable(kind: str, parameters: Mapping[str, Plain]) -> Timetable | None:
    """Make one of the timetables of this module.

    Raises:
        ConfigurationError: a parameter is unknown, missing or wrong.
    """
    if kind not in _KINDS:
        return None
    make, known = _KINDS[kind]
    values = {**known, **parameters}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigurationError(f"{kind} has no parameter {', '.join(unknown)}; use {', '.join(known)}")
    if missing := [name for name, value in values.items() if value is ...]:
        raise ConfigurationError(f"{kind} needs {', '.join(missing)}")
    return make(values)
