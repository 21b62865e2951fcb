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
        """Seconds from some fixed point. Never jumps; for measuring how long something took."""
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
        return condition.wait(timeout)

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """See `Clock.wait_event`."""
        return event.wait(timeout)
