"""How many messages a worker should hold. Pure but for what it is told."""

from __future__ import annotations

__all__ = ["Prefetch"]

#: The work to have at hand, in seconds: enough to hide the round trips, little enough that nobody else waits for it.
_HORIZON_SECONDS = 0.1
#: How fast old measurements fade.
_WEIGHT = 0.3


class Prefetch:
    """Grows with short tasks, and shrinks to the free slots with long ones. Used by one thread at a time."""

    def __init__(self, slots: int, limit: int) -> None:
        """Make it.

        Args:
            slots: how many tasks can run at once.
            limit: the most to hold beyond them.
        """
        self._slots = slots
        self._limit = limit
        self._rate: float | None = None
        self._run_seconds = 0.0

    def settled(self, number: int, run_seconds: float, elapsed_seconds: float) -> None:
        """Take note: ``number`` tasks ran ``run_seconds`` each (mean), and ended within ``elapsed_seconds``."""
        rate = number / max(elapsed_seconds, 1e-4)
        self._rate = rate if self._rate is None else self._rate + _WEIGHT * (rate - self._rate)
        faded = self._run_seconds + _WEIGHT * (run_seconds - self._run_seconds)
        # Long tasks count at once, for what is taken beyond the slots keeps idle workers waiting.
        self._run_seconds = max(faded, run_seconds)

    @property
    def slots(self) -> int:
        """How many tasks can run at once."""
        return self._slots

    def window(self, stalled_seconds: float) -> int:
        """How many to hold.

        Args:
            stalled_seconds: how long ago the last task ended, while all slots are taken; 0 otherwise.
        """
        if self._rate is None or max(self._run_seconds, stalled_seconds) >= _HORIZON_SECONDS:
            return self._slots
        # Twice what is done within the horizon, so that a rate that was held back by the window can grow.
        return self._slots + min(self._limit, int(2 * self._rate * _HORIZON_SECONDS))
