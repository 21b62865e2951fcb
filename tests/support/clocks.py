"""Clocks for tests."""

from drivetrain.contract import SystemClock


class Ahead(SystemClock):
    """The machine's clock, set forward: for it, every lease and hold of a dead worker has ended."""

    def __init__(self, seconds):
        self.seconds = seconds

    def now(self):
        return super().now() + self.seconds
