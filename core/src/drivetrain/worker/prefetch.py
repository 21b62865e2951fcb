"""Prefetch: how many messages a worker should have in flight for one pool."""

from __future__ import annotations

__all__ = ["Prefetch"]

#: The work to prefetch, in seconds: enough to hide round trips, and little enough to leave work for other workers.
_HORIZON_SECONDS = 0.1
#: The weight of a new measurement in the moving average.
_WEIGHT = 0.3


class Prefetch:
    """Grows with short tasks, and shrinks to the free slots with long ones. Used by one thread at a time."""

    def __init__(self, slots: int, limit: int) -> None:
        """Make it.

        Args:
            slots: how many tasks can run at once.
            limit: the largest number of messages beyond them.
        """
        self._slots = slots
        self._limit = limit
        self._rate: float | None = None
        self._run_seconds = 0.0

    def settled(self, number: int, run_seconds: float, elapsed_seconds: float) -> None:
        """Add a measurement: ``number`` tasks ran ``run_seconds`` each (mean), and ended within ``elapsed_seconds``."""
        rate = number / max(elapsed_seconds, 1e-4)
        self._rate = rate if self._rate is None else self._rate + _WEIGHT * (rate - self._rate)
        faded = self._run_seconds + _WEIGHT * (run_seconds - self._run_seconds)
        # Long tasks count at once, since prefetched messages would keep idle workers waiting.
        self._run_seconds = max(faded, run_seconds)

    @property
    def slots(self) -> int:
        """How many tasks can run at once."""
        return self._slots

    def window(self, stalled_seconds: float) -> int:
        """The number of messages to have in flight.

        Args:
            stalled_seconds: how long ago the last task ended, while all slots are taken; 0 otherwise.
        """
        if self._rate is None or max(self._run_seconds, stalled_seconds) >= _HORIZON_SECONDS:
            return self._slots
        # Twice the work of the horizon, so that a rate that the window has limited can grow.
        return self._slots + min(self._limit, int(2 * self._rate * _HORIZON_SECONDS))
