"""The suspects of a worker: the isolation that runs them, made when the first suspect comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from drivetrain.worker.run import Run, RunResult

if TYPE_CHECKING:
    from drivetrain.worker.isolation import Isolation

__all__ = ["Suspects"]


class Suspects:
    """Runs suspects alone; see `drivetrain.worker.isolation`, which most workers never import. Thread-safe.

    Args:
        make: makes the isolation; called by one thread.
    """

    def __init__(self, make: Callable[[], Isolation]) -> None:
        self._make = make
        self._isolation: Isolation | None = None

    def isolation(self) -> Isolation:
        """The isolation, made at the first call."""
        if self._isolation is None:
            self._isolation = self._make()
        return self._isolation

    def submit(self, runs: Sequence[Run]) -> None:
        """Run suspects, each alone.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        if runs:
            self.isolation().submit(runs)

    def run_now(self, run: Run) -> RunResult:
        """Run a suspect in this thread; its result."""
        return self.isolation().run_now(run)

    @property
    def want_worker(self) -> bool:
        """Whether a suspect waits until the worker runs nothing else, or runs while it does not."""
        return self._isolation is not None and self._isolation.wants_worker

    @property
    def have_worker(self) -> bool:
        """Whether the worker runs nothing else, for a suspect."""
        return self._isolation is not None and self._isolation.has_worker

    def grant_worker(self) -> None:
        """Tell the waiting suspect that the worker runs nothing else."""
        if self._isolation is not None:
            self._isolation.grant()

    def cancel(self, run: Run) -> None:
        """Stop a suspect, where it can be stopped."""
        if self._isolation is not None:
            self._isolation.cancel(run)

    def return_stuck(self) -> None:
        """Release the suspects that wait behind a long one."""
        if self._isolation is not None:
            self._isolation.return_stuck()

    def take_back(self) -> Sequence[Run]:
        """Remove the suspects that have not begun; these runs."""
        return () if self._isolation is None else self._isolation.take_back()

    def stop(self) -> None:
        """End the thread and the child process of the isolation."""
        if self._isolation is not None:
            self._isolation.stop()
