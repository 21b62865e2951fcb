"""Time limits of tasks that run in threads: at the limit, TaskTimeout is raised inside the task."""

from __future__ import annotations

import ctypes
import heapq
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from drivetrain.contract import Clock
from drivetrain.worker.context import TaskTimeout

__all__ = ["Deadlines"]

T = TypeVar("T")

#: So many deadlines of runs that have ended are borne, however few runs are watched.
_SLACK = 64


class Deadlines:
    """Watches over threads, in a thread of its own that is only started when it is needed. Thread-safe.

    Python raises the exception at the thread's next bytecode: code that is stuck inside C (a blocking call without a
    timeout of its own) ends only when it comes back from there. A task in the processes pool is killed instead.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int]] = []
        #: The threads that are watched, by number. Whoever takes a number out, its own thread or the watcher, has
        #: decided whether its deadline strikes.
        self._watched: dict[int, int] = {}
        #: The numbers of deadlines that have struck, until their thread has seen it.
        self._struck: set[int] = set()
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._ended = False

    def call(self, seconds: float, function: Callable[[], T]) -> T:
        """The result of ``function``, in which TaskTimeout is raised after ``seconds``; never once this has ended."""
        number = self._watch_this_thread(seconds)
        try:
            return function()
        finally:
            self._release(number)

    def _watch_this_thread(self, seconds: float) -> int:
        number = next(self._numbers)
        with self._changed:
            self._watched[number] = threading.get_ident()
            heapq.heappush(self._entries, (self._clock.monotonic() + seconds, number))
            if self._entries[0][1] == number:
                self._wake()
            if len(self._entries) > 2 * len(self._watched) + _SLACK:
                self._entries = sorted(entry for entry in self._entries if entry[1] in self._watched)
        return number

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="drivetrain-deadlines", daemon=True)
            self._thread.start()

    def _release(self, number: int) -> None:
        # Takes no lock: an exception that strikes between taking a lock and the block that gives it back keeps it.
        if self._watched.pop(number, None) is not None:
            return
        # Too late: the exception is raised in this thread, if it was not yet, here and not in whatever it does next.
        while number not in self._struck:
            time.sleep(0.0005)
        self._struck.discard(number)
        time.sleep(0)

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
                    self._strike(heapq.heappop(self._entries)[1])
                self._clock.wait(self._changed, self._entries[0][0] - now if self._entries else None)

    def _strike(self, number: int) -> None:
        thread = self._watched.pop(number, None)
        if thread is not None:
            _raise_in(thread)
            self._struck.add(number)


def _raise_in(thread: int) -> None:
    # Documented in "Initialization, Finalization, and Threads" of the C API; Dramatiq's time limits do the same.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TaskTimeout))
