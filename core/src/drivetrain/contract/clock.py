"""The clock, a parameter of everything that reads the time, so that a test can control it."""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time, and waiting for it. Thread-safe."""

    def now(self) -> float:
        """Unix seconds. They may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from a fixed point that all processes of a machine share. They never jump; use them for durations."""
        ...

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on ``condition``, which the caller holds, at most ``timeout`` seconds of this clock; None: for ever.

        Returns:
            True if the condition was notified, False after the time-out. The caller checks what it waits for.
        """
        ...

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for ``event`` at most ``timeout`` seconds of this clock (None: for ever). Returns whether it is set."""
        ...


class SystemClock:
    """The machine's clock."""

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
        # In steps, because Python refuses to wait for longer than TIMEOUT_MAX at once.
        end = self.monotonic() + timeout
        notified = condition.wait(min(timeout, threading.TIMEOUT_MAX))
        while not notified and (remaining := end - self.monotonic()) > 0:
            notified = condition.wait(min(remaining, threading.TIMEOUT_MAX))
        return notified

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """See `Clock.wait_event`."""
        if timeout is None:
            return event.wait()
        end = self.monotonic() + timeout
        happened = event.wait(min(timeout, threading.TIMEOUT_MAX))
        while not happened and (remaining := end - self.monotonic()) > 0:
            happened = event.wait(min(remaining, threading.TIMEOUT_MAX))
        return happened
