"""Tasks in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from drivetrain.contract import Clock
from drivetrain.worker.deadlines import Deadlines
from drivetrain.worker.execution import Execution
from drivetrain.worker.run import Ending, Run

__all__ = ["ThreadPool"]


class ThreadPool:
    """A fixed number of threads that take runs from one queue."""

    def __init__(self, size: int, execution: Execution, clock: Clock, done: Callable[[Ending], None]) -> None:
        self._execution = execution
        self._deadlines = Deadlines(clock)
        self._done = done
        self._waiting: SimpleQueue[Run | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"drivetrain-task-{number}", daemon=True) for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        for run in runs:
            self._waiting.put(run)

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        try:
            while True:
                run = self._waiting.get_nowait()
                if run is None:
                    self._waiting.put(None)
                    return runs
                runs.append(run)
        except Empty:
            return runs

    def cancel(self, run: Run) -> None:
        """A thread cannot be stopped from outside safely: the task may look at ``current_task().cancelled``."""

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._deadlines.stop()
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (run := self._waiting.get()) is not None:
            self._done(self._execution.run(run, self._deadlines.call))
