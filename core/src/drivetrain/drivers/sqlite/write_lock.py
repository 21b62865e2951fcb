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

from drivetrain.drivers.sqlite import files

__all__ = ["Turn"]

if sys.platform == "win32":

    def _lock(_file: int, *, wait: bool) -> bool:
        return not wait

    def _unlock(_file: int) -> None:
        """There is nothing to do: nothing was locked."""

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


def _open(path: Path) -> int | None:
    try:
        return files.open_outside_forks(lambda: os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    except OSError:
        return None


class Turn:
    """One writer's place in the queue. Used by one thread at a time.

    Args:
        path: the file in which to queue; made when it is missing, never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._held: int | None = None
        self._wait: _Wait | None = None

    def take(self, seconds: float) -> bool:
        """Wait until it is our turn, at most so long; whether it is. Called again, it waits on in the same place."""
        if self._held is None:
            if self._file is None:
                self._file = _open(self._path)
            self._held = self._take(self._file, seconds)
        return self._held is not None

    def leave(self) -> None:
        """Let the next one have its turn, if it is ours."""
        held, self._held = self._held, None
        if held is None:
            return
        _unlock(held)
        if held != self._file:
            files.close(held)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            files.close(file)

    def _take(self, file: int | None, seconds: float) -> int | None:
        """The file by which it is our turn; None if it is not."""
        if file is None or _lock(file, wait=False):
            return file
        if self._wait is None or not self._wait.resume():
            # By a file of its own, for one that is locked for us twice is unlocked for us at once.
            waiting = _open(self._path)
            self._wait = None if waiting is None else _Wait(waiting)
        return None if self._wait is None else self._wait.result(seconds)


class _Wait:
    """Waits for a lock in a thread of its own, for the kernel cannot be told to give up after a time.

    When the lock does come too late the thread lets it go again.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._wanted = True
        self._over = False
        self._locked = threading.Event()
        threading.Thread(target=self._run, name="drivetrain-sqlite-turn", daemon=True).start()

    def resume(self) -> bool:
        """Want the lock again; False when it has come, and this is of no more use."""
        with self._lock:
            self._wanted = not self._over
            return self._wanted

    def result(self, seconds: float) -> int | None:
        """The file, locked; or None when that took too long."""
        try:
            self._locked.wait(seconds)
        except BaseException:
            if not self._give_up():
                _release(self._file)
            raise
        return None if self._give_up() else self._file

    def _give_up(self) -> bool:
        """Want the lock no longer, unless it has come; whether it has not."""
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
    files.close(file)
