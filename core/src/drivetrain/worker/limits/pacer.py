"""The pacer: keeps runs that start in a moment, and hands each to its pool at its instant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count

from drivetrain.contract import Clock
from drivetrain.worker.run import Run
from drivetrain.worker.threads import Threads

__all__ = ["Pacer"]


class Pacer:
    """Hands runs to their pools, each not before its `Run.not_before`. Thread-safe.

    A message of a rate-limited task is received a moment before its instant, so that the delay of a broker and of a
    round trip do not make it late. Several late ones would start together, and exceed the limit.
    """

    def __init__(self, clock: Clock, threads: Threads, submit: Callable[[Sequence[Run]], None]) -> None:
        """Make it.

        Args:
            clock: the clock of the worker.
            threads: starts its thread, when the first run must wait.
            submit: hands runs to their pools.
        """
        self._clock = clock
        self._threads = threads
        self._submit = submit
        self._waiting: list[tuple[float, int, Run]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._started = False
        self._stopped = False

    def submit(self, runs: Sequence[Run]) -> None:
        """Hand runs over, now or at their instant."""
        later = [run for run in runs if run.not_before is not None]
        if later:
            self._hold(later)
            runs = [run for run in runs if run.not_before is None]
        self._submit(runs)

    def take_back(self) -> list[Run]:
        """Remove the runs that wait for their instant; these runs."""
        with self._changed:
            waiting, self._waiting = self._waiting, []
            return [run for _, _, run in waiting]

    def stop(self) -> None:
        """End its thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _hold(self, runs: Sequence[Run]) -> None:
        with self._changed:
            for run in runs:
                if run.not_before is not None:
                    heappush(self._waiting, (run.not_before, next(self._numbers), run))
            if not self._started:
                self._threads.start("drivetrain-pacer", self._run)
                self._started = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                due = self._due()
                if not due:
                    rest = self._waiting[0][0] - self._clock.monotonic() if self._waiting else None
                    self._clock.wait(self._changed, rest)
            self._submit(due)

    def _due(self) -> list[Run]:
        now, due = self._clock.monotonic(), list[Run]()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, run = heappop(self._waiting)
            run.not_before = None
            due.append(run)
        return due
