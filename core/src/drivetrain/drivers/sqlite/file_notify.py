"""Hints to other processes that the file has changed, so that they need not look at it all the time.

Who has committed something opens a file beside the database and closes it again, of which Linux tells those who watch
that file. It is a courtesy only: where nothing can be opened or watched, or somebody is killed right after the commit,
others find the change when they look next. Nothing is left over but that file, which is empty.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from pathlib import Path

from drivetrain.drivers.sqlite import files

__all__ = ["Hint", "Listener"]

if sys.platform == "linux":
    _IN_CLOSE_WRITE = 0x8

    def _watch(path: Path) -> int:
        """A file that can be read whenever ``path`` was opened to write and closed."""
        import ctypes  # slow, and for those only who wait

        libc = ctypes.CDLL(None, use_errno=True)

        def open_file() -> int:
            file: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if file < 0:  # there are only so many for each user
                raise OSError(ctypes.get_errno(), "inotify_init1")
            return file

        file = files.open_outside_forks(open_file)
        if libc.inotify_add_watch(file, os.fsencode(path), _IN_CLOSE_WRITE) < 0:
            files.close(file)
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        return file

else:

    def _watch(path: Path) -> int:
        raise OSError(f"nobody tells here when {path} is closed")


class Hint:
    """What one kind of changes is told by. Thread-safe.

    Args:
        path: the file that is opened and closed; made by those who listen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(self) -> None:
        """Tell all who listen, in this process too. Never fails."""
        with suppress(OSError):  # above all: there is no file, for nobody has ever listened
            # Not touched or written: the file system would have to keep that, and its journal makes one wait for it.
            os.close(os.open(self._path, os.O_WRONLY))

    def listen(self) -> Listener | None:
        """Hear of all hints from now on; None where that is not possible."""
        try:
            os.close(os.open(self._path, os.O_RDONLY | os.O_CREAT, 0o666))
            return Listener(_watch(self._path))
        except (OSError, ImportError, AttributeError):  # of a Python or a C library without them
            return None


class Listener:
    """Hears hints. Used by one thread."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait for a hint, at most so long; whether there was one since the last call."""
        if not self._poll.poll(seconds * 1000):
            return False
        os.read(self._file, 4096)
        return True

    def close(self) -> None:
        """Listen no longer."""
        files.close(self._file)
