"""Whose turn it is to write.

SQLite lets one writer in at a time, and those that wait ask again after sleeps that grow to a tenth of a second: under
load one process starves for seconds while another writes on. Writers therefore queue for an advisory lock, of which the
kernel wakes the next, and which it takes from a process that is killed. It is a courtesy only: where it cannot be had
(no ``fcntl``, an unwritable directory, a writer that is stopped), SQLite's own lock still keeps writers apart.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["Turn"]

if sys.platform == "win32":

    def _lock(_file: int, *, wait: bool) -> bool:
        return not wait

    def _unlock(_file: int) -> None: ...

else:
    import fcntl

    def _lock(file: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        # Not left to closing the file: a forked child has it open too.
        fcntl.flock(file, fcntl.LOCK_UN)


class Turn:
    """A context manager that waits until nobody else writes, at most ``seconds``. Used by one thread at a time.

    Args:
        path: the file in which to queue; made when it is missing, never removed.
        seconds: how long to wait before going on regardless.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._file: int | None = None
        self._held: int | None = None

    def __enter__(self) -> None:
        if self._file is None:
            self._file = self._open()
        self._held = self._take(self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        _unlock(held)
        if held != self._file:
            os.close(held)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _open(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None

    def _take(self, file: int | None) -> int | None:
        """The file by which it is our turn; None where queueing is of no use."""
        if file is None or _lock(file, wait=False):
            return file
        waiting = self._open()
        return None if waiting is None else _Wait(waiting).result(self._seconds)


class _Wait:
    """Waits for a lock in a thread of its own, for the kernel cannot be told to give up after a time."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._given_up = False
        threading.Thread(target=self._run, name="drivetrain-sqlite-turn", daemon=True).start()

    def result(self, seconds: float) -> int | None:
        """The locked file, or None when it could not be locked in time. To be called once."""
        try:
            self._ended.wait(seconds)
        except BaseException:
            if not self._give_up():
                _release(self._file)
            raise
        return None if self._give_up() else self._file

    def _give_up(self) -> bool:
        """Wait no longer, unless the wait has ended; whether it has not."""
        with self._lock:
            self._given_up = not self._ended.is_set()
            return self._given_up

    def _run(self) -> None:
        _lock(self._file, wait=True)
        with self._lock:
            if not self._given_up:
                self._ended.set()
                return
        _release(self._file)


def _release(file: int) -> None:
    _unlock(file)
    os.close(file)
