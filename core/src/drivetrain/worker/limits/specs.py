"""Limits as applications write them: ``@app.task(limits=[Rate("stripe", 100, per=1)])``. Immutable values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from attrs import field, frozen

from drivetrain.worker.limits.durations import Duration, positive, seconds

__all__ = ["Rate", "RateSetting", "WhenLimited"]

#: What becomes of a task that a limit holds back.
WhenLimited: TypeAlias = Literal["wait", "drop", "cancel_oldest"]


def _limit(value: float) -> float:
    return positive("the limit of a Rate", value)


def _period(value: Duration) -> float:
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
    per: float = field(default=1.0, converter=_period, kw_only=True)
    burst: float = field(default=1.0, converter=_burst, kw_only=True)
    cost: float | Callable[..., float] = field(default=1.0, validator=_check_cost, kw_only=True)
    key: Callable[..., object] | None = field(default=None, kw_only=True)

    @property
    def setting(self) -> RateSetting:
        """Its numbers, which an operator may change while workers run."""
        return RateSetting(limit=self.limit, per=self.per, burst=self.burst)


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
