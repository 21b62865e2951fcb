"""The scheduler: a loop that syncs the declared schedules once, and then ticks. Part of each worker, or alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Self

from drivetrain.contract import DrivetrainError
from drivetrain.worker.logs import get_logger
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.schedules.ticker import Ticker

__all__ = ["POLL_SECONDS", "Scheduler"]

logger = get_logger("drivetrain.schedules")

#: How often a scheduler reads the head of all schedules when nothing is due, in seconds.
POLL_SECONDS = 2.0
#: The first and the longest pause while a service is unavailable, in seconds.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 10.0
#: The shortest pause between two looks, in seconds.
_SHORTEST_PAUSE_SECONDS = 0.01


class Scheduler:
    """Ticks the schedules of an app. Any number may run at once, and none is special. Thread-safe.

    `run` blocks; `start` runs it in a thread, and so does ``with scheduler:``. A scheduler runs once. It is a
    `Companion` of each worker.

    Args:
        runtime: the drivers of the app.
        ticker: sends what is due.
        sync: stores the declared schedules.
        declares: whether there are any; then they are stored again where a cache has dropped them.
    """

    #: The name of its thread.
    name = "drivetrain-schedules"

    def __init__(
        self, runtime: Runtime, ticker: Ticker, sync: Callable[[], None], declares: Callable[[], bool]
    ) -> None:
        self._clock = runtime.clock
        self._ticker = ticker
        self._sync = sync
        self._declares = declares
        self._end = threading.Event()
        self._random = Random()
        self._failures = 0
        self._synced = False
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Tick until `stop`. A service that is unavailable is tried again, with growing pauses."""
        pause = 0.0
        while not self._clock.wait_event(self._end, pause):
            try:
                pause = self._tick_and_wait()
            except DrivetrainError as error:
                if not self._failures:
                    logger.warning("no schedule ticks: %s; trying again", error)
                pause = self._pause()
            except Exception:  # a third-party driver may raise anything, and this thread must live on
                if not self._failures:
                    logger.exception("no schedule ticks because of an unexpected error; trying again")
                pause = self._pause()

    def start(self) -> Scheduler:
        """`run` in a thread."""
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End `run`, after the ticks that are being sent. May be called more than once, and from signal handlers."""
        self._end.set()

    def join(self) -> None:
        """Wait for the thread of `start`."""
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.join()

    def tick(self) -> float | None:
        """Send what is due now, in this thread; when the next look is due, in Unix seconds. None: nothing is planned.

        The first call stores the declared schedules. For tests, and for loops of your own, in the place of `run`.

        Raises:
            ServiceError: a service could not be reached. The next call does what was not done.
        """
        if not self._synced or (self._ticker.lost and self._declares()):
            self._sync()
            self._synced = True
        return self._ticker.run_due()

    def _tick_and_wait(self) -> float:
        """Tick once; the pause before the next tick, in seconds."""
        due = self.tick()
        self._failures = 0
        # Not all at the same time: the polls of many workers are spread.
        poll = POLL_SECONDS * self._random.uniform(0.75, 1.25)
        return poll if due is None else min(poll, max(_SHORTEST_PAUSE_SECONDS, due - self._ticker.now()))

    def _pause(self) -> float:
        self._failures += 1
        longest: float = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10))
        return longest * self._random.uniform(0.5, 1.0)
