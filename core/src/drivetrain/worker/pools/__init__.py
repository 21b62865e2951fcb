"""Where tasks run: threads, child processes, an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drivetrain.worker.run import Run

__all__ = ["RunPool"]


class RunPool(Protocol):
    """Runs what it is given, and hands each ending over as soon as there is one. Thread-safe."""

    def submit(self, runs: Sequence[Run]) -> None:
        """Run these, in order, as soon as there is a free slot."""
        ...

    def take_back(self) -> list[Run]:
        """Those that were submitted and have not begun; they will not."""
        ...

    def cancel(self, run: Run) -> None:
        """Stop a run whose result counts no more, as far as that is possible."""
        ...

    def stop(self) -> None:
        """End its threads and processes, waiting for nothing that still runs."""
        ...
