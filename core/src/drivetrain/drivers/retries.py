"""The retry policies that come with drivetrain: ``never``, ``fixed``, ``exponential``, ``fibonacci``, ``intervals``.

A delay depends on the number of the retry and on the `random.Random` argument alone: a policy has no state. It is a
finite number of seconds, 0 or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from random import Random
from typing import Any

import attrs
from attrs import field, frozen

from drivetrain.contract import InvalidSignature, Plain, RetryPolicy, hookimpl

__all__ = ["LONGEST_SECONDS", "Exponential", "Fibonacci", "Fixed", "Intervals", "Never", "make_retry_policy"]

#: The longest delay: a hundred years. The bound refuses inf and nan too, and keeps the arithmetic finite.
LONGEST_SECONDS = 100 * 365.25 * 86400.0

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _between(low: float, high: float) -> Check:
    def check(_policy: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared without a conversion: a huge int from a message would overflow a float.
        if not (number and low <= value <= high):
            raise InvalidSignature(f"{attribute.name} is {_shown(value)}; it must be a number from {low:g} to {high:g}")

    return check


def _shown(value: object) -> str:
    # Python refuses to print the digits of very large integers.
    huge = isinstance(value, int) and value.bit_length() > 64
    return "a huge number" if huge else repr(value)[:80]


def _delays(_policy: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidSignature(f"{attribute.name} is {_shown(value)}; it must be a list of at least one delay")
    for index, delay in enumerate(value):
        _between(0, LONGEST_SECONDS)(None, attribute.evolve(name=f"{attribute.name}[{index}]"), delay)


@frozen
class Never:
    """No retry: `drivetrain.contract.Retries.max_retries` must be 0. If it is not, retries have no delay."""

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """Always 0."""
        return 0.0


@frozen(kw_only=True)
class Fixed:
    """The same delay before every retry.

    Attributes:
        seconds: the delay.
    """

    seconds: float = field(validator=_between(0, LONGEST_SECONDS))

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """``seconds`` for every retry."""
        return float(self.seconds)


@frozen(kw_only=True)
class Exponential:
    """A growing delay: ``full = min(cap, base * factor ** (retry - 1))``, less a random part.

    The delay is evenly distributed between ``full * (1 - jitter)`` and ``full``. Jitter 0 is none, 0.5 is known as
    equal jitter, 1 as full jitter. The default of 0.5 spreads tasks that failed together over half of the delay, and
    spares a failing service for the other half. Full jitter does not spare it.

    Attributes:
        base: the delay before the first retry, in seconds, without jitter: more than 0.
        factor: the quotient of two successive delays, 1 to 1,000.
        cap: the longest delay, in seconds: more than 0.
        jitter: the random share of a delay, 0 to 1.
    """

    base: float = field(default=1.0, validator=_between(0.000001, LONGEST_SECONDS))
    factor: float = field(default=2.0, validator=_between(1, 1000))
    cap: float = field(default=600.0, validator=_between(0.000001, LONGEST_SECONDS))
    jitter: float = field(default=0.5, validator=_between(0, 1))

    def delay_seconds(self, retry: int, random: Random) -> float:
        """See the class."""
        try:
            full = min(float(self.cap), self.base * float(self.factor) ** (retry - 1))
        except OverflowError:
            full = float(self.cap)
        return full * (1.0 - self.jitter * random.random())


@frozen(kw_only=True)
class Fibonacci:
    """The delays of Machinery: 1, 2, 3, 5, 8, 13 … seconds, from ``start`` to ``cap``.

    Attributes:
        start: the lowest delay, in seconds, 0 or more: 4 gives 5, 8, 13 …
        cap: the longest delay, in seconds: more than 0.
    """

    start: float = field(default=1.0, validator=_between(0, LONGEST_SECONDS))
    cap: float = field(default=3600.0, validator=_between(0.000001, LONGEST_SECONDS))

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """See the class."""
        delay, following, remaining = 1, 2, retry
        # At most sixty rounds for any retry: the numbers grow beyond every cap.
        while delay < self.cap and (delay < self.start or remaining > 1):
            remaining -= delay >= self.start
            delay, following = following, delay + following
        return float(min(delay, self.cap))


@frozen(kw_only=True)
class Intervals:
    """A list of delays, one for each retry. The last one repeats.

    Attributes:
        seconds: the delays, 0 or more each, at least one.
    """

    seconds: tuple[float, ...] = field(validator=_delays)

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """The delay of this retry, or the last one."""
        return float(self.seconds[min(retry, len(self.seconds)) - 1])


_POLICIES: Mapping[str, type[Any]] = {
    "never": Never,
    "fixed": Fixed,
    "exponential": Exponential,
    "fibonacci": Fibonacci,
    "intervals": Intervals,
}


def _faults(kind: type[Any], parameters: Mapping[str, Plain]) -> Iterator[str]:
    fields = {attribute.name: attribute for attribute in attrs.fields(kind)}
    for name in parameters:
        if name not in fields:
            yield f"there is no parameter {name!r}{_hint(name, list(fields))}"
    for name, attribute in fields.items():
        if name not in parameters:
            if attribute.default is attrs.NOTHING:
                yield f"{name} is missing"
            continue
        try:
            attribute.validator(None, attribute, parameters[name])
        except InvalidSignature as fault:
            yield str(fault)


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(str(name), known, n=1)
    return (
        f"; did you mean {near[0]!r}?" if near else f"; use {', '.join(known)}" if known else "; this policy takes none"
    )


@hookimpl
def make_retry_policy(name: str, parameters: Mapping[str, Plain]) -> RetryPolicy | None:
    """Make one of the policies of this module.

    Raises:
        InvalidSignature: parameters are unknown, missing or wrong; the error names all of them.
    """
    kind = _POLICIES.get(name)
    if kind is None:
        return None
    if faults := list(_faults(kind, parameters)):
        raise InvalidSignature("\n  - ".join((f"the retry policy {name!r} cannot be made:", *faults)))
    policy: RetryPolicy = kind(**parameters)
    return policy
