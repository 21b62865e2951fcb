"""Tasks in threads."""

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

#: Tasks that take no longer than this, in seconds, are run by one thread: several would only fight for the interpreter.
_SHORT_SECONDS = 2e-4
#: How fast old measurements fade.
_WEIGHT = 0.1
#: When nothing has begun for so long, in seconds, while something waits, more threads are needed after all.
_STALLED_SECONDS = 0.005


class ThreadPool:
    """A fixed number of threads that take runs from one queue: as many of them as are of use."""

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
        #: How long a task runs, in seconds: the mean of late; long until it is known.
        self._run_seconds = 1.0
        self._begun = 0
        self._resting = 0
        self._stopped = False
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._left_waiting = threading.Condition(lock)
        try:
            for number in range(size):
                threads.start(f"drivetrain-task-{number}", self._work)
            threads.start("drivetrain-waker", self._wake)
        except RuntimeError:
            self.stop()  # those that were started
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
                self._left_waiting.notify()

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        while (run := self._next()) is not None:
            runs.append(run)
        return runs

    def cancel(self, run: Run) -> None:
        """A thread cannot be stopped from outside safely: the task may look at ``current_task().cancelled``."""

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._deadlines.stop()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._left_waiting.notify_all()

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
            ending = self._execution.run(run, self._deadlines.call)
            self._run_seconds += _WEIGHT * (ending.run_seconds - self._run_seconds)
            self._done(ending)

    def _rest(self) -> bool:
        """Wait until there is something to run; False: never again."""
        with self._changed:
            self._resting += 1
            while not self._waiting and not self._stopped:
                self._changed.wait()
            self._resting -= 1
            return bool(self._waiting) or not self._stopped

    # Waking: a short task may turn out to be a long one, and what waits behind it must not wait for its end.

    def _wake(self) -> None:
        while not self._stopped:
            with self._changed:
                if not (self._waiting and self._resting > 0):
                    self._left_waiting.wait()
                    continue
                begun = self._begun
                self._left_waiting.wait_for(lambda: self._stopped, _STALLED_SECONDS)
                if begun == self._begun and self._waiting:
                    self._changed.notify(len(self._waiting))
