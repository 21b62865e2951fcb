"""The retry policies that come with drivetrain: ``never``, ``fixed``, ``exponential``, ``fibonacci``, ``intervals``.

All numbers are seconds unless said otherwise. Delays are finite, never negative, and follow from the retry's number and
the `random.Random` that is handed in; a policy keeps nothing from one call to the next.
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

#: No delay may be longer: a hundred years. Bounds arithmetic, and refuses inf and nan in the same breath.
LONGEST_SECONDS = 100 * 365.25 * 86400.0

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _between(low: float, high: float) -> Check:
    def check(_policy: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared as it came: a huge int from a message must not overflow a float here.
        if not (number and low <= value <= high):
            raise InvalidSignature(f"{attribute.name} is {_shown(value)}; it must be a number from {low:g} to {high:g}")

    return check


def _shown(value: object) -> str:
    # The digits of a huge int are not worth printing, and Python refuses to print the hugest.
    huge = isinstance(value, int) and value.bit_length() > 64
    return "a huge number" if huge else repr(value)[:80]


def _delays(_policy: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidSignature(f"{attribute.name} is {_shown(value)}; it must be a list of at least one delay")
    for index, delay in enumerate(value):
        _between(0, LONGEST_SECONDS)(None, attribute.evolve(name=f"{attribute.name}[{index}]"), delay)


@frozen
class Never:
    """No retry: `drivetrain.contract.Retries.max_retries` of 0 is what stops them; should one happen, it is at once."""

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """Always 0."""
        return 0.0


@frozen(kw_only=True)
class Fixed:
    """The same delay before every retry."""

    #: The delay, in seconds.
    seconds: float = field(validator=_between(0, LONGEST_SECONDS))

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """``seconds``, whatever the retry."""
        return float(self.seconds)


@frozen(kw_only=True)
class Exponential:
    """Longer and longer: ``full = min(cap, base * factor ** (retry - 1))``, less a random part.

    The delay lies evenly between ``full * (1 - jitter)`` and ``full``. Jitter 0 is none, 0.5 is what is known as equal
    jitter, 1 as full jitter. The default is 0.5: what failed together is spread over half of the delay, and a service
    in trouble is left alone for at least the other half, which full jitter does not grant.
    """

    #: The delay before the first retry, in seconds, before jitter.
    base: float = field(default=1.0, validator=_between(0.000001, LONGEST_SECONDS))
    #: By what each delay is longer than the one before it.
    factor: float = field(default=2.0, validator=_between(1, 1000))
    #: The longest delay, in seconds.
    cap: float = field(default=600.0, validator=_between(0.000001, LONGEST_SECONDS))
    #: The share of a delay that is random, 0 to 1.
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
    """Machinery's: 1, 2, 3, 5, 8, 13 … seconds, from the first of these that is not below ``start``, up to ``cap``."""

    #: Below which no delay lies, in seconds: 4 gives 5, 8, 13 …
    start: float = field(default=1.0, validator=_between(0, LONGEST_SECONDS))
    #: The longest delay, in seconds.
    cap: float = field(default=3600.0, validator=_between(0.000001, LONGEST_SECONDS))

    def delay_seconds(self, retry: int, random: Random) -> float:  # noqa: ARG002
        """See the class."""
        delay, following, left = 1, 2, retry
        # Ends within sixty rounds whatever the retry: the numbers outgrow any cap.
        while delay < self.cap and (delay < self.start or left > 1):
            left -= delay >= self.start
            delay, following = following, delay + following
        return float(min(delay, self.cap))


@frozen(kw_only=True)
class Intervals:
    """Listed delays, one for each retry; the last one repeats."""

    #: The delays, in seconds.
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
            yield f"{name!r} is no parameter of it{_hint(name, list(fields))}"
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
    return f"; did you mean {near[0]!r}?" if near else f" (it has: {', '.join(known) or 'none'})"


@hookimpl
def make_retry_policy(name: str, parameters: Mapping[str, Plain]) -> RetryPolicy | None:
    """Make one of the policies of this module.

    Raises:
        InvalidSignature: parameters are unknown, missing or wrong; all of them are named.
    """
    kind = _POLICIES.get(name)
    if kind is None:
        return None
    if faults := list(_faults(kind, parameters)):
        raise InvalidSignature("\n  - ".join((f"the retry policy {name!r} cannot be made:", *faults)))
    policy: RetryPolicy = kind(**parameters)
    return policy
