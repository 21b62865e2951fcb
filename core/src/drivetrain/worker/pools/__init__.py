"""The pools that run tasks: threads, child processes, an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drivetrain.worker.run import Run

__all__ = ["RunPool"]


class RunPool(Protocol):
    """Runs tasks, and hands over each result as soon as there is one. Thread-safe."""

    def submit(self, runs: Sequence[Run]) -> None:
        """Run these in order, each as soon as a slot is free."""
        ...

    def take_back(self) -> list[Run]:
        """Remove and return the runs that have not begun."""
        ...

    def cancel(self, run: Run) -> None:
        """Stop a run whose result is ignored, where the pool can stop it."""
        ...

    def stop(self) -> None:
        """End its threads and processes without waiting for running tasks."""
        ...
