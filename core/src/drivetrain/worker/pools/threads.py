"""The threads pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from drivetrain.contract import Clock
from drivetrain.worker.deadlines import Deadlines
from drivetrain.worker.execution import Execution
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.threads import Threads

__all__ = ["ThreadPool"]

#: Tasks up to this length, in seconds, run in one thread: several threads would only compete for the interpreter.
_SHORT_SECONDS = 2e-4
#: The weight of a new measurement in the moving average.
_WEIGHT = 0.1
#: When runs wait and none has begun for this time, in seconds, more threads are woken.
_STALLED_SECONDS = 0.005


class ThreadPool:
    """A fixed number of threads that take runs from one queue. Short tasks wake only one of them."""

    def __init__(
        self, size: int, execution: Execution, clock: Clock, done: Callable[[RunResult], None], threads: Threads
    ) -> None:
        """Start it.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        self._execution = execution
        self._deadlines = Deadlines(clock, threads)
        self._done = done
        self._size = size
        self._waiting: deque[Run] = deque()
        #: The moving average of the time that a task runs, in seconds; long until it is measured.
        self._run_seconds = 1.0
        self._begun = 0
        self._resting = 0
        self._stopped = False
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._backlog = threading.Condition(lock)
        try:
            for number in range(size):
                threads.start(f"drivetrain-task-{number}", self._work)
            threads.start("drivetrain-waker", self._wake)
        except RuntimeError:
            self.stop()  # ends the threads that have started
            raise

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        self._waiting.extend(runs)
        with self._changed:
            if self._run_seconds > _SHORT_SECONDS:
                self._changed.notify(len(runs))
                return
            none_works = self._resting == self._size
            if none_works:
                self._changed.notify()
            if not none_works or len(runs) > 1:
                self._backlog.notify()

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        while (run := self._next()) is not None:
            runs.append(run)
        return runs

    def cancel(self, run: Run) -> None:
        """Do nothing: a thread cannot be stopped safely. The task may check ``current_task().cancelled``."""

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._deadlines.stop()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._backlog.notify_all()

    def _next(self) -> Run | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _work(self) -> None:
        while (run := self._next()) is not None or self._rest():
            if run is None:
                continue
            self._begun += 1
            result = self._execution.run(run, self._deadlines.call)
            self._run_seconds += _WEIGHT * (result.run_seconds - self._run_seconds)
            self._done(result)

    def _rest(self) -> bool:
        """Wait until there is a run; False: the pool has stopped."""
        with self._changed:
            self._resting += 1
            while not self._waiting and not self._stopped:
                self._changed.wait()
            self._resting -= 1
            return bool(self._waiting) or not self._stopped

    # Waking: a task may take longer than expected, and runs behind it must not wait for its end.

    def _wake(self) -> None:
        while not self._stopped:
            with self._changed:
                if not (self._waiting and self._resting > 0):
                    self._backlog.wait()
                    continue
                begun = self._begun
                self._backlog.wait_for(lambda: self._stopped, _STALLED_SECONDS)
                if begun == self._begun and self._waiting:
                    self._changed.notify(len(self._waiting))
