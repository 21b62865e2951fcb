"""How a task is retried, as users write it: ``@app.task(retry=retry.exponential(max_retries=5))``.

Each function returns a `drivetrain.contract.Retries`: the policy's name and parameters, how often at most
(``max_retries``, after the first attempt), and which errors. ``retry_on`` and ``give_up_on`` take exception types, or
their names as ``module.QualName``; subtypes count; an empty ``retry_on`` means every error, and ``give_up_on`` wins.
Durations are seconds or a `datetime.timedelta`. Types are checked here; ranges by the policy, when it is made from its
parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

from drivetrain.contract import InvalidSignature, Plain, Retries

__all__ = ["Duration", "Errors", "exponential", "fibonacci", "fixed", "intervals", "never"]

#: Seconds, or a timedelta.
Duration: TypeAlias = float | timedelta
#: Exception types or their names; one by itself needs no list.
Errors: TypeAlias = type[BaseException] | str | Iterable[type[BaseException] | str]


def never() -> Retries:
    """No retry: the first error is final."""
    return Retries(policy="never", max_retries=0)


def fixed(seconds: Duration, *, max_retries: int = 3, retry_on: Errors = (), give_up_on: Errors = ()) -> Retries:
    """The same delay before every retry.

    Args:
        seconds: the delay.
        max_retries: how often at most, after the first attempt.
        retry_on: the only errors to retry; empty: all.
        give_up_on: errors not to retry, whatever ``retry_on`` says.

    Raises:
        InvalidSignature: an argument is of the wrong type, or ``max_retries`` is negative.
    """
    return _retries("fixed", {"seconds": _seconds("seconds", seconds)}, max_retries, retry_on, give_up_on)


def exponential(
    *,
    base: Duration = 1.0,
    factor: float = 2.0,
    cap: Duration = 600.0,
    jitter: float = 0.5,
    max_retries: int = 3,
    retry_on: Errors = (),
    give_up_on: Errors = (),
) -> Retries:
    """Longer and longer delays: 1, 2, 4, 8 … seconds up to ten minutes, each shortened by a random part.

    With ``full = min(cap, base * factor ** (retry - 1))``, where the first retry is 1, the delay lies evenly between
    ``full * (1 - jitter)`` and ``full``. ``jitter=0`` is exact, ``1`` is what is known as full jitter.

    Args:
        base: the first delay, before jitter.
        factor: by what each delay is longer than the one before it; at least 1.
        cap: the longest delay.
        jitter: the share of a delay that is random, 0 to 1.
        max_retries: how often at most, after the first attempt.
        retry_on: the only errors to retry; empty: all.
        give_up_on: errors not to retry, whatever ``retry_on`` says.

    Raises:
        InvalidSignature: an argument is of the wrong type, or ``max_retries`` is negative.
    """
    parameters = {
        "base": _seconds("base", base),
        "factor": factor,
        "cap": _seconds("cap", cap),
        "jitter": jitter,
    }
    return _retries("exponential", parameters, max_retries, retry_on, give_up_on)


def fibonacci(
    *,
    start: Duration = 1.0,
    cap: Duration = 3600.0,
    max_retries: int = 3,
    retry_on: Errors = (),
    give_up_on: Errors = (),
) -> Retries:
    """Machinery's delays: 1, 2, 3, 5, 8, 13 … seconds, up to an hour. No jitter.

    Args:
        start: the first delay is the first of these numbers that is not below it: 4 gives 5, 8, 13 …
        cap: the longest delay.
        max_retries: how often at most, after the first attempt.
        retry_on: the only errors to retry; empty: all.
        give_up_on: errors not to retry, whatever ``retry_on`` says.

    Raises:
        InvalidSignature: an argument is of the wrong type, or ``max_retries`` is negative.
    """
    parameters = {"start": _seconds("start", start), "cap": _seconds("cap", cap)}
    return _retries("fibonacci", parameters, max_retries, retry_on, give_up_on)


def intervals(
    delays: Sequence[Duration],
    *,
    max_retries: int | None = None,
    retry_on: Errors = (),
    give_up_on: Errors = (),
) -> Retries:
    """Listed delays, one for each retry; the last one repeats.

    Args:
        delays: at least one.
        max_retries: how often at most, after the first attempt; None: as often as there are delays.
        retry_on: the only errors to retry; empty: all.
        give_up_on: errors not to retry, whatever ``retry_on`` says.

    Raises:
        InvalidSignature: an argument has the wrong type, ``delays`` is empty, or ``max_retries`` is negative.
    """
    listed = [_seconds(f"delays[{index}]", delay) for index, delay in enumerate(delays)]
    if not listed:
        raise InvalidSignature("retry.intervals needs at least one delay")
    times = len(listed) if max_retries is None else max_retries
    return _retries("intervals", {"seconds": listed}, times, retry_on, give_up_on)


def _retries(
    policy: str, parameters: Mapping[str, Plain], max_retries: int, retry_on: Errors, give_up_on: Errors
) -> Retries:
    return Retries(
        policy=policy,
        parameters=parameters,
        max_retries=max_retries,
        retry_on=_kinds("retry_on", retry_on),
        give_up_on=_kinds("give_up_on", give_up_on),
    )


def _seconds(name: str, duration: Duration) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise InvalidSignature(f"{name} is {duration!r}; it must be seconds or a timedelta")
    return duration


def _kinds(name: str, errors: Errors) -> tuple[type[BaseException] | str, ...]:
    # A str is an iterable of letters, so one by itself is caught here.
    kinds = (errors,) if isinstance(errors, (type, str)) else tuple(errors)
    for kind in kinds:
        _check_kind(name, kind)
    return kinds


def _check_kind(name: str, kind: object) -> None:
    if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise InvalidSignature(f"{name} holds {kind!r}; it must hold exception types or their names")
