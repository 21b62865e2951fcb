"""Assertions on time that a slow machine cannot break.

What ends is asked for again and again. An answer "still there" proves that it was there when the question was asked;
an answer "gone" proves that it was gone when the answer came. Both are compared to the call that began it, taken at the
end that is to the driver's favour, so that only a driver that is wrong fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from attrs import frozen

from drivetrain.contract import SystemClock
from drivetrain_contract_tests.backends.concurrency import Background

__all__ = [
    "EXACT_SECONDS",
    "LONG_TIMES",
    "ShiftedClock",
    "Timed",
    "assert_ends",
    "assert_ends_once",
    "eventually",
    "timed",
]

P = ParamSpec("P")
T = TypeVar("T")

_DAY = 86_400.0
#: Times at which services change their mind: beyond 30 days, 32 bits of seconds or of milliseconds, or of what is left
#: of them until 2038.
LONG_TIMES = (30 * _DAY + 1, 2**31 / 1000 + 1, 2**32 / 1000 + 1, 13 * 365 * _DAY, 2**31 + 1.0, 2**32 + 1.0)
#: Long enough that five per cent less is more than `_SLACK`.
EXACT_SECONDS = 1.4

#: For clocks that are set a little while a check runs, and for stores that count in milliseconds.
_SLACK = 0.05
_BETWEEN_QUESTIONS = 0.01


@frozen
class Timed(Generic[T]):
    """A call that was made: its answer, and between which times (monotonic) it was."""

    answer: T
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


def timed(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Timed[T]:
    """Make a call."""
    began = time.monotonic()
    answer = call(*args, **kwargs)
    return Timed(answer, began, time.monotonic())


def assert_ends(there: Callable[[], bool], since: Timed[Any], seconds: float, resolution: float) -> None:
    """Assert that what the call ``since`` began ends after ``seconds``: not before, and not later than declared.

    Args:
        there: asks whether it is still there.
        since: the call that said how long it lasts.
        seconds: how long it lasts.
        resolution: how late it may end, in seconds.
    """
    while (asked := timed(there)).answer:
        late = asked.began - since.ended - seconds
        assert late <= resolution + _SLACK, (
            f"it lasts {seconds} s and is still there {late:.2f} s later; "
            f"as declared it may be {resolution} s late (expiry_resolution_seconds)"
        )
        _pause()
    lasted = asked.ended - since.began
    assert lasted >= seconds - _SLACK, f"it lasts {seconds} s and was gone after {lasted:.2f} s"


def assert_ends_once(
    call: Callable[[], object], seconds: float, *, late: float, longest: float, tries: int = 5
) -> None:
    """Assert that a call which waits for ``seconds`` in vain is not longer than that by nature.

    A busy machine makes a call return late, but not each of several; a driver that rounds its time up always does.

    Args:
        call: waits.
        seconds: how long it is to wait.
        late: how much longer the fastest of the calls may take, in seconds.
        longest: how long one call may take, in seconds.
        tries: how many calls are made at most.
    """
    took = []
    for _ in range(tries):
        took.append(Background(timed, call).result(longest).seconds)
        assert took[-1] >= seconds - _SLACK, f"it waits {seconds} s and has returned after {took[-1]:.2f} s"
        if took[-1] <= seconds + late:
            return
    raise AssertionError(f"it waits {seconds} s and has returned after {min(took):.2f} s at the earliest")


def eventually(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Assert that ``condition`` comes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not so after {seconds} s"
        _pause()


def _pause() -> None:
    threading.Event().wait(_BETWEEN_QUESTIONS)


class ShiftedClock(SystemClock):
    """The machine's clock, set to another time. Services that count themselves do not see the difference."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        """See `Clock.now`."""
        return super().now() + self._seconds

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return super().monotonic() + self._seconds
