"""The clock, passed in everywhere, so that a test can turn it."""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time, and waiting for it. Thread-safe."""

    def now(self) -> float:
        """Unix seconds. May jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from a fixed point, which all processes of a machine share. Never jumps; for measuring durations."""
        ...

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on ``condition``, which the caller holds, at most ``timeout`` seconds of this clock.

        Returns:
            False when the time ran out; True when the condition was notified. Callers check what they wait for.
        """
        ...

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for ``event`` at most ``timeout`` seconds of this clock; whether it is set."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """See `Clock.wait`."""
        if timeout is None:
            return condition.wait()
        # In steps, since Python refuses to wait for longer than TIMEOUT_MAX at once.
        end = self.monotonic() + timeout
        notified = condition.wait(min(timeout, threading.TIMEOUT_MAX))
        while not notified and (left := end - self.monotonic()) > 0:
            notified = condition.wait(min(left, threading.TIMEOUT_MAX))
        return notified

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """See `Clock.wait_event`."""
        if timeout is None:
            return event.wait()
        end = self.monotonic() + timeout
        happened = event.wait(min(timeout, threading.TIMEOUT_MAX))
        while not happened and (left := end - self.monotonic()) > 0:
            happened = event.wait(min(left, threading.TIMEOUT_MAX))
        return happened
