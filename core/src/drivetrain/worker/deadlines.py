"""Time limits of tasks that run in threads: at the limit, TaskTimeout or SoftTimeout is raised inside the task."""

from __future__ import annotations

import ctypes
import heapq
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from drivetrain.contract import Clock
from drivetrain.worker.context import SoftTimeout, TaskTimeout
from drivetrain.worker.threads import Threads

__all__ = ["STRIKE_AGAIN_SECONDS", "Deadlines"]

T = TypeVar("T")

#: The time between two strikes while the task continues, in seconds: enough for a task to clean up.
STRIKE_AGAIN_SECONDS = 5.0
#: How many deadlines of runs that have ended may stay in the heap before it is cleaned.
_SLACK = 64


class _Limit:
    """The time limit of one run.

    The watcher sets `striking` and then looks at `over`; the thread of the run sets `over` and then looks at
    `striking`. So either the watcher sees that the run is over, or the thread waits until the strike is done.
    """

    __slots__ = ("error", "over", "striking", "struck", "thread")

    def __init__(self, error: type[BaseException]) -> None:
        #: What is raised in the run: TaskTimeout, again and again until the run is over; or SoftTimeout, once.
        self.error = error
        self.thread = threading.get_ident()
        #: Whether the run has ended: no strike begins any more.
        self.over = False
        self.striking = False
        #: Whether it was ever struck.
        self.struck = False


class Deadlines:
    """Watches over threads, in a thread of its own that is only started when it is needed. Thread-safe.

    Python raises the exception at the thread's next bytecode: code that is stuck inside C (a blocking call without a
    timeout of its own) ends only when it comes back from there. A task in the processes pool is killed instead.

    A task may swallow the exception: in a bare ``except``, or where Python itself drops exceptions (in ``__del__``).
    So it is raised again every few seconds until the task ends.
    """

    def __init__(self, clock: Clock, threads: Threads, *, again_seconds: float = STRIKE_AGAIN_SECONDS) -> None:
        """Make it.

        Args:
            clock: by which time is measured.
            threads: starts the watching thread.
            again_seconds: how long after one strike the next follows.
        """
        self._clock = clock
        self._threads = threads
        self._again_seconds = again_seconds
        self._changed = threading.Condition()
        #: A heap: when, by the monotonic clock; a number that makes entries comparable; what to strike.
        self._entries: list[tuple[float, int, _Limit]] = []
        self._clean_at = _SLACK
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._ended = False

    def call(self, seconds: float, function: Callable[[], T], error: type[BaseException] = TaskTimeout) -> T:
        """The result of ``function``, in which ``error`` is raised after ``seconds``; never once this has ended.

        Args:
            seconds: the time limit.
            function: what is called; it may call this again, with another limit.
            error: TaskTimeout or SoftTimeout.
        """
        limit = _Limit(error)
        try:
            self._watch_over(limit, seconds)
            return function()
        finally:
            # An assignment, which no exception interrupts: nothing strikes this thread in what it does next.
            limit.over = True
            _await_last_strike(limit)

    def _watch_over(self, limit: _Limit, seconds: float) -> None:
        with self._changed:
            self._push(self._clock.monotonic() + seconds, limit)
            if self._thread is None:
                self._thread = self._threads.start("drivetrain-deadlines", self._watch)
            if self._entries[0][2] is limit:
                self._changed.notify_all()

    def _push(self, when: float, limit: _Limit) -> None:
        heapq.heappush(self._entries, (when, next(self._numbers), limit))
        if len(self._entries) > self._clean_at:
            self._entries = sorted(entry for entry in self._entries if not entry[2].over)
            self._clean_at = 2 * len(self._entries) + _SLACK

    def stop(self) -> None:
        """Watch no longer."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                now = self._clock.monotonic()
                while self._entries and self._entries[0][0] <= now:
                    limit = heapq.heappop(self._entries)[2]
                    if _strike(limit) and limit.error is TaskTimeout:
                        self._push(now + self._again_seconds, limit)
                self._clock.wait(self._changed, self._entries[0][0] - now if self._entries else None)


def _strike(limit: _Limit) -> bool:
    """Raise the error of a limit in the thread of its run, unless the run is over; whether it was raised."""
    limit.striking = True
    try:
        if limit.over:
            return False
        _raise_in(limit.thread, limit.error)
        limit.struck = True
        return True
    finally:
        limit.striking = False


def _await_last_strike(limit: _Limit) -> None:
    """Let an exception that is on its way to this thread be raised here, and not in the next code of the thread.

    Takes no lock: an exception that strikes between taking a lock and the block that gives it back keeps it.
    """
    try:
        _let_strike(limit)
    except (TaskTimeout, SoftTimeout):
        _let_strike(limit)  # the one before may have come late, and another have begun
        raise


def _let_strike(limit: _Limit) -> None:
    while limit.striking:
        time.sleep(0.0005)
    if limit.struck:
        time.sleep(0)


def _raise_in(thread: int, error: type[BaseException]) -> None:
    # Documented in "Initialization, Finalization, and Threads" of the C API; Dramatiq's time limits do the same.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
