"""The loop in which a call of a driver waits for a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from drivetrain.contract.clock import Clock

__all__ = ["WaitLoop"]

T = TypeVar("T")


class WaitLoop:
    """Repeats an attempt until it finds something, its time is over, or the driver is closed. Thread-safe.

    Make one for each driver object. Its `close` ends the calls that run, and no later ones.

    Args:
        clock: the clock by which time-outs are counted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closings = 0

    def run(
        self,
        attempt: Callable[[], T],
        pause: Callable[[float], object],
        *,
        timeout_seconds: float,
        when_closed: Callable[[], object] | None = None,
    ) -> T:
        """Call ``attempt``, and again after each ``pause``, until its result is true.

        Args:
            attempt: looks for a result. It is called at least once, with a time-out of 0 too.
            pause: waits until another attempt may find more, at most as many seconds as it is given. It must return
                soon after `close`; for no reason it may return too.
            timeout_seconds: how long to wait.
            when_closed: called at the end if `close` was called meanwhile, to close what the last attempt has opened.

        Returns:
            The result of the last attempt.
        """
        closings = self._closings
        end = self._clock.monotonic() + timeout_seconds
        while True:
            found = attempt()
            remaining = end - self._clock.monotonic()
            if not found and remaining > 0 and self._closings == closings:
                pause(remaining)
                if self._closings == closings:
                    continue
            if when_closed is not None and self._closings != closings:
                when_closed()
            return found

    def close(self) -> None:
        """Let every call that runs return after its pause. The driver wakes the pauses itself, afterwards."""
        self._closings += 1
