"""Limits as applications write them: ``@app.task(limits=[Rate("stripe", 100, per=1)])``. Immutable values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from drivetrain.contract import InvalidSignature
from drivetrain.worker.limits.durations import Duration, positive, seconds

__all__ = ["Concurrency", "Debounce", "Key", "Rate", "RateSetting", "Throttle", "Unique", "WhenLimited"]

#: What becomes of a task that a limit holds back.
WhenLimited: TypeAlias = Literal["wait", "drop", "cancel_oldest"]


def _limit(value: float) -> float:
    return positive("the limit of a Rate", value)


def _per(value: Duration) -> float:
    return seconds("the period of a Rate", value)


def _burst(value: float) -> float:
    return positive("the burst of a Rate", value)


def _check_cost(_record: object, _attribute: object, value: object) -> None:
    if not callable(value):
        positive("the cost of a Rate", value)


@frozen
class Rate:
    """A limit on how often tasks start, for all workers together.

    Over any time, tasks start at most ``burst`` times more often than ``limit`` for each ``per``. A task that must wait
    is delayed once, to the instant that is reserved for it. It holds no slot, uses no attempt, and keeps no other key
    waiting. Tasks with a limit of the same key share it, whatever their name is.

    Attributes:
        name: the name of the limit, and its key: ``"stripe"`` is one limit, ``"api:{user}"`` is one for each value of
            the argument ``user``.
        limit: how much may start in each period, more than 0.
        per: the length of a period; seconds, or a timedelta.
        burst: how much may start at once after a pause, more than 0.
        cost: how much of the limit one call uses: a number that is more than 0, or a function of the task's arguments
            that returns one.
        key: a function of the task's arguments; what it returns, as text, is added to the name. None: the name alone.
    """

    name: str
    limit: float = field(converter=_limit)
    per: float = field(default=1.0, converter=_per, kw_only=True)
    burst: float = field(default=1.0, converter=_burst, kw_only=True)
    cost: float | Callable[..., float] = field(default=1.0, validator=_check_cost, kw_only=True)
    key: Callable[..., object] | None = field(default=None, kw_only=True)

    @property
    def setting(self) -> RateSetting:
        """Its numbers, which an operator may change while workers run."""
        return RateSetting(limit=self.limit, per=self.per, burst=self.burst)


def _check_places(_record: object, _attribute: Any, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise InvalidSignature(f"the limit of a Concurrency is {value!r}; use a whole number, 1 or more")


@frozen
class Concurrency:
    """A limit on how many tasks run at the same time, for all workers together.

    A task that must wait stands in a line. It holds no slot, costs no polling, uses no attempt, and starts as soon as
    it is the first one and a place is free. Tasks with a limit of the same key share it.

    Attributes:
        name: the name of the limit, and its key: ``"tenant:{tenant}"`` is one for each value of that argument.
        limit: how many tasks may run at the same time, 1 or more.
        key: see `Rate.key`.
    """

    name: str
    limit: int = field(validator=_check_places)
    key: Callable[..., object] | None = field(default=None, kw_only=True)


#: The key of a unique task: a template, a function of the task's arguments, or None: all arguments.
Key: TypeAlias = str | Callable[..., object] | None


def _until(value: str | Duration) -> str | float:
    return value if isinstance(value, str) else seconds("until= of Unique", value)


def _check_until(_record: object, _attribute: object, value: object) -> None:
    if isinstance(value, str) and value not in ("started", "finished"):
        raise InvalidSignature(f"until= of Unique is {value!r}; use 'started', 'finished' or a duration")


def _check_on_conflict(record: Unique, _attribute: object, value: object) -> None:
    if value not in ("return", "raise", "replace", "reschedule"):
        raise InvalidSignature(f"on_conflict of Unique is {value!r}; use 'return', 'raise', 'replace' or 'reschedule'")
    if value == "reschedule" and record.until != "started":
        raise InvalidSignature("on_conflict='reschedule' needs until='started': a task that runs keeps its arguments")


@frozen(kw_only=True)
class Unique:
    """At most one task for each key: while one is there, no other one is sent.

    The key belongs to the id of a task, over all its retries. It is free as soon as the task ends, in any way.

    Attributes:
        key: what makes calls the same: ``"{user}"``, a function of the task's arguments, or None: all arguments.
        until: until when a task holds the key: ``finished``, ``started``, or for this time after it was sent, whether
            it has ended or not (seconds, or a timedelta).
        on_conflict: what sending another one does. ``return``: nothing, and it returns the handle of the task that is
            there. ``raise``: it raises `AlreadySent`. ``replace``: it cancels the task that is there. ``reschedule``:
            the task that is there gets the new arguments and the new due time.
    """

    key: Key = None
    until: str | float = field(default="finished", converter=_until, validator=_check_until)
    on_conflict: Literal["return", "raise", "replace", "reschedule"] = field(
        default="return", validator=_check_on_conflict
    )


def _wait(value: Duration) -> float:
    return seconds("the wait of a Debounce", value)


def _max_wait(value: Duration | None) -> float | None:
    return None if value is None else seconds("max_wait of a Debounce", value)


@frozen
class Debounce:
    """Runs a task once, after its calls have been quiet for a time, with the arguments of the last call.

    Attributes:
        wait: how long no other call must come; seconds, or a timedelta.
        max_wait: how long after the first call it runs at the latest; None: without limit.
        key: see `Unique.key`; without one, all calls of the task are one.
    """

    wait: float = field(converter=_wait)
    max_wait: float | None = field(default=None, converter=_max_wait, kw_only=True)
    key: str | Callable[..., object] = field(default="all", kw_only=True)


def _period(value: Duration) -> float:
    return seconds("the period of a Throttle", value)


@frozen
class Throttle:
    """Runs a task at most once in each period: other calls return the handle of the one that was sent.

    Attributes:
        period: how long after a call no other one runs; seconds, or a timedelta.
        key: see `Unique.key`; without one, all calls of the task are one.
    """

    period: float = field(converter=_period)
    key: str | Callable[..., object] = field(default="all", kw_only=True)


@frozen(kw_only=True)
class RateSetting:
    """The numbers of a rate limit; see `Rate`."""

    limit: float
    per: float
    burst: float

    @property
    def interval(self) -> float:
        """The seconds that a cost of 1 uses."""
        return self.per / self.limit
