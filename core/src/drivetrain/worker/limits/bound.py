"""Limits bound to a task: how the arguments of a call become keys and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from drivetrain.contract import InvalidSignature
from drivetrain.worker.limits.durations import positive
from drivetrain.worker.limits.keys import Arguments, CallKey, call_key
from drivetrain.worker.limits.place import Place
from drivetrain.worker.limits.rates import Draw
from drivetrain.worker.limits.specs import Concurrency, Debounce, Key, Rate, Throttle, Unique, WhenLimited

__all__ = ["BoundConcurrency", "BoundRate", "BoundUnique", "TaskLimits", "bind_limits", "bind_unique"]

_WHEN_LIMITED = ("wait", "drop", "cancel_oldest")


@frozen
class BoundRate:
    """A rate limit of a task."""

    spec: Rate
    key: CallKey

    def draw(self, arguments: Arguments) -> Draw:
        """The draw of a call. Raises what the functions of the application raise, and InvalidSignature."""
        cost = self.spec.cost
        if callable(cost):
            cost = positive(f"the cost of limit {self.key.name!r}", cost(*arguments[0], **arguments[1]))
        return Draw(self.key.name, self.key.of(arguments), self.spec.setting, cost)

    @property
    def constant(self) -> bool:
        """Whether it needs no arguments."""
        return self.key.constant and not callable(self.spec.cost)


@frozen
class BoundConcurrency:
    """A concurrency limit of a task."""

    spec: Concurrency
    key: CallKey

    def place(self, arguments: Arguments) -> Place:
        """The place that a call needs. Raises what the functions of the application raise."""
        return Place(self.key.name, self.key.of(arguments), self.spec.limit)


@frozen
class TaskLimits:
    """The limits of a task.

    Attributes:
        rates: its rate limits, in the order in which they are drawn from.
        concurrency: its concurrency limits.
        when_limited: what becomes of a call that must wait.
    """

    rates: tuple[BoundRate, ...]
    concurrency: tuple[BoundConcurrency, ...]
    when_limited: WhenLimited

    @property
    def constant(self) -> bool:
        """Whether no limit needs arguments."""
        return all(one.constant for one in self.rates) and all(one.key.constant for one in self.concurrency)

    @property
    def specs(self) -> Sequence[Rate | Concurrency]:
        """The limits as the application has written them."""
        return [*(one.spec for one in self.rates), *(one.spec for one in self.concurrency)]

    def places(self, arguments: Arguments) -> tuple[Place, ...]:
        """The places that a call needs, each once, in the order of their keys.

        Raises what the functions of the application raise.
        """
        places = {place.key: place for place in (one.place(arguments) for one in self.concurrency)}
        return tuple(places[key] for key in sorted(places))


@frozen
class BoundUnique:
    """How a task is unique."""

    spec: Unique
    #: None: all arguments are the key.
    key: CallKey | None
    #: For a debounced task: how long its calls must be quiet, in seconds; None: it is not debounced.
    wait: float | None = None
    #: For a debounced task: how long it waits at most, in seconds; None: without limit.
    max_wait: float | None = None


def bind_unique(
    task: str,
    function: Callable[..., Any],
    unique: Unique | None,
    debounce: Debounce | None,
    throttle: Throttle | None,
) -> BoundUnique | None:
    """How a task is unique; None: it is not.

    Raises:
        InvalidSignature: one of them is wrong, or there are several.
    """
    given = [one for one in (unique, debounce, throttle) if one is not None]
    if len(given) > 1:
        raise InvalidSignature(f"task {task!r} has {' and '.join(map(repr, given))}; use one of them")
    for one, kind in ((unique, Unique), (debounce, Debounce), (throttle, Throttle)):
        if one is not None and not isinstance(one, kind):
            raise InvalidSignature(f"task {task!r} has {one!r} as {kind.__name__.lower()}=; use {kind.__name__}(…)")
    if debounce is not None:
        spec = Unique(key=debounce.key, until="started", on_conflict="reschedule")
        key = _unique_key(task, function, debounce.key)
        return BoundUnique(spec, key, wait=debounce.wait, max_wait=debounce.max_wait)
    if throttle is not None:
        unique = Unique(key=throttle.key, until=throttle.period)
    return None if unique is None else BoundUnique(unique, _unique_key(task, function, unique.key))


def _unique_key(task: str, function: Callable[..., Any], key: Key) -> CallKey | None:
    if key is None or isinstance(key, str):
        return None if key is None else call_key(task, function, key)
    return call_key(task, function, "key", key)


def bind_limits(
    task: str, function: Callable[..., Any], limits: Sequence[object], when_limited: WhenLimited
) -> TaskLimits | None:
    """The limits of a task; None: it has none.

    Raises:
        InvalidSignature: one of them is wrong.
    """
    if when_limited not in _WHEN_LIMITED:
        raise InvalidSignature(
            f"when_limited of task {task!r} is {when_limited!r}; use 'wait', 'drop' or 'cancel_oldest'"
        )
    rates, concurrency = [], []
    for one in limits:
        if isinstance(one, Rate):
            rates.append(BoundRate(one, call_key(task, function, one.name, one.key)))
        elif isinstance(one, Concurrency):
            concurrency.append(BoundConcurrency(one, call_key(task, function, one.name, one.key)))
        else:
            raise InvalidSignature(f"task {task!r} has {one!r} as a limit; use Rate(…) or Concurrency(…)")
    return TaskLimits(tuple(rates), tuple(concurrency), when_limited) if rates or concurrency else None
