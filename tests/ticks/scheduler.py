"""A scheduler process with a wrong clock: python -m ticks.scheduler BROKER BACKEND SKEW_SECONDS LEASE_SECONDS."""

from __future__ import annotations

import sys
import time

from drivetrain import App
from drivetrain.contract import SystemClock

__all__ = ["Skewed", "main"]


class Skewed(SystemClock):
    """The machine's clock, wrong by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        """See `drivetrain.contract.Clock.now`."""
        return time.time() + self._seconds


def main() -> None:
    """Tick until killed."""
    broker, backend, skew, lease = sys.argv[1:]
    app = App(broker, backend, clock=Skewed(float(skew)), lease_seconds=float(lease))
    app.scheduler().run()


if __name__ == "__main__":
    main()
