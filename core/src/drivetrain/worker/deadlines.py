"""Time limits of tasks that run in threads: at the limit, TaskTimeout is raised inside the task."""

from __future__ import annotations

import ctypes
import heapq
import threading
from itertools import count

from drivetrain.contract import Clock
from drivetrain.worker.context import TaskTimeout

__all__ = ["Deadlines"]


class Deadlines:
    """Watches over threads, in a thread of its own that is only started when it is needed. Thread-safe.

    Python raises the exception at the thread's next bytecode: code that is stuck inside C (a blocking call without a
    timeout of its own) ends only when it comes back from there. A task in the processes pool is killed instead.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, int]] = []
        self._live: set[int] = set()
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._ended = False

    def watch(self, seconds: float) -> int:
        """Raise TaskTimeout in this thread after ``seconds``, unless `release` is called before; gives its number."""
        number = next(self._numbers)
        with self._changed:
            self._live.add(number)
            heapq.heappush(self._entries, (self._clock.monotonic() + seconds, number, threading.get_ident()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="drivetrain-deadlines", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return number

    def release(self, number: int) -> None:
        """The task has ended; from here on its thread is not interrupted."""
        with self._changed:
            self._live.discard(number)

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
                    _, number, thread = heapq.heappop(self._entries)
                    if number in self._live:
                        self._live.discard(number)
                        _raise_in(thread)
                self._clock.wait(self._changed, self._entries[0][0] - now if self._entries else None)


def _raise_in(thread: int) -> None:
    # Documented in "Initialization, Finalization, and Threads" of the C API; Dramatiq's time limits do the same.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TaskTimeout))
