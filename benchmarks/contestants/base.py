"""What a contestant must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from worker_process import WorkerProcess

__all__ = ["Contestant"]


class Contestant(ABC):
    """One task queue, set up in a directory of its own, with two tasks.

    ``double(n)`` gives ``2 * n``; ``total(numbers)`` gives their sum. It is made once in the process that sends and
    measures, and once more in the worker's.

    Args:
        directory: for its files.
        threads: how many tasks a worker runs at a time.
    """

    #: What else a reader should know of how it is set up.
    setup: ClassVar[str] = ""
    #: Its name among the entries.
    entry: str

    def __init__(self, directory: Path, threads: int) -> None:
        self.directory = directory
        self.threads = threads
        self._worker: WorkerProcess | None = None

    # In the process that sends

    @abstractmethod
    def send(self, number: int) -> Any:
        """Send ``double(number)``; a handle to its result."""

    @abstractmethod
    def send_many(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Send ``double`` of each number, in the fastest way that there is; their handles in order."""

    @abstractmethod
    def all_done(self, handles: Sequence[Any]) -> bool:
        """Whether the results of all that was sent can be read. Asked often, so it should cost the worker nothing."""

    @abstractmethod
    def results(self, handles: Sequence[Any]) -> Sequence[int]:
        """Read all results, which are there."""

    @abstractmethod
    def round_trip(self, number: int) -> int:
        """Send ``double(number)``, wait for its result in the fastest way that there is, and give it."""

    @abstractmethod
    def chord(self, numbers: Sequence[int]) -> int:
        """Send ``double`` of each number and ``total`` of their results; wait for that, and give it."""

    def start_worker(self) -> None:
        """Start a worker process; return when it is about to take its first task."""
        self._worker = WorkerProcess(self.entry, self.directory, self.threads)

    def stop_worker(self) -> None:
        """Stop it, and wait for its end."""
        if self._worker is not None:
            self._worker.stop()

    def worker_rss(self) -> float:
        """The memory that the worker process has now, in MB."""
        if self._worker is None:
            raise RuntimeError("there is no worker process")
        return self._worker.rss()

    # In the worker's process

    @abstractmethod
    def work(self, ready: Callable[[], None]) -> None:
        """Work until SIGTERM; call ``ready`` first, when nothing is left to be prepared."""
