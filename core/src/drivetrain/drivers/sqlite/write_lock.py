"""A fair lock for writers, outside of SQLite.

SQLite lets one writer in at a time. The others ask again after sleeps that grow to a tenth of a second: under load one
process starves for seconds while another writes. Writers therefore wait for an advisory lock on a file first. The
kernel wakes the next waiter, and releases the lock of a process that is killed.

The lock is for speed alone. Where it cannot be had (no ``fcntl``, an unwritable directory, a stopped holder), SQLite's
own lock still keeps writers apart.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from drivetrain.drivers.sqlite import fork_safety

__all__ = ["WriteLock"]

if sys.platform == "win32":

    def _lock(_file: int, *, wait: bool) -> bool:
        return not wait

    def _unlock(_file: int) -> None:
        """Nothing was locked."""

else:
    import fcntl

    def _lock(file: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another writer holds it: the answer, not an error
            return False
        return True

    def _unlock(file: int) -> None:
        # To close the file would not be enough: a forked child has it open too.
        fcntl.flock(file, fcntl.LOCK_UN)


def _open(path: Path) -> int | None:
    try:
        return fork_safety.open_file(lambda: os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    except OSError:  # no such directory, not writable: SQLite reports it, or its own lock is enough
        return None


class WriteLock:
    """The lock of one writer. For one thread at a time.

    Args:
        path: the file to lock. It is made when it is missing, and never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._held: int | None = None
        self._wait: _Wait | None = None

    def acquire(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for the lock; whether it is held. A repeated call keeps its place in the queue."""
        if self._held is None:
            if self._file is None:
                self._file = _open(self._path)
            self._held = self._acquire(self._file, seconds)
        return self._held is not None

    def release(self) -> None:
        """Release the lock, if it is held."""
        held, self._held = self._held, None
        if held is None:
            return
        _unlock(held)
        if held != self._file:
            fork_safety.close_file(held)

    def close(self) -> None:
        """Close the file. `acquire` opens it again."""
        file, self._file = self._file, None
        if file is not None:
            fork_safety.close_file(file)

    def _acquire(self, file: int | None, seconds: float) -> int | None:
        """The file that holds the lock; None if there is none."""
        if file is None or _lock(file, wait=False):
            return file
        if self._wait is None or not self._wait.resume():
            # A descriptor of its own: one unlock would end both locks of a shared one.
            waiting = _open(self._path)
            self._wait = None if waiting is None else _Wait(waiting)
        return None if self._wait is None else self._wait.result(seconds)


class _Wait:
    """A thread that waits for a lock: ``flock`` itself takes no time-out.

    If the lock comes after the time-out, the thread releases it again.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._wanted = True
        self._over = False
        self._locked = threading.Event()
        threading.Thread(target=self._run, name="drivetrain-sqlite-write-lock", daemon=True).start()

    def resume(self) -> bool:
        """Want the lock again; False if the thread has ended."""
        with self._lock:
            self._wanted = not self._over
            return self._wanted

    def result(self, seconds: float) -> int | None:
        """The file, locked; None if that took longer than ``seconds``."""
        try:
            self._locked.wait(seconds)
        except BaseException:  # raised again: a lock that came meanwhile must not stay locked
            if not self._give_up():
                _release(self._file)
            raise
        return None if self._give_up() else self._file

    def _give_up(self) -> bool:
        """Stop wanting the lock, unless it has come; whether it has not."""
        with self._lock:
            self._wanted = False
            return not self._over

    def _run(self) -> None:
        _lock(self._file, wait=True)
        with self._lock:
            self._over = True
            if self._wanted:
                self._locked.set()
                return
        _release(self._file)


def _release(file: int) -> None:
    _unlock(file)
    fork_safety.close_file(file)
