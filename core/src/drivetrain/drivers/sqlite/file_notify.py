"""Notifications to other processes that the database has changed, so that they need not poll it often.

After a commit a process opens an empty file next to the database and closes it again. Linux reports that to all
processes that watch the file (inotify). With it another process receives a message 0.8 ms after its publication, not
after 2 to 3 ms, and an idle worker takes a quarter of the processor time.

Notifications are for speed alone. Where a file cannot be opened or watched, or a process is killed right after its
commit, the others find the change when they poll.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from pathlib import Path

from drivetrain.drivers.sqlite import fork_safety

__all__ = ["FileNotifier", "Listener"]

if sys.platform == "linux":
    _IN_CLOSE_WRITE = 0x8

    def _watch(path: Path) -> int:
        """A descriptor that is readable whenever ``path`` was opened for writing and closed."""
        import ctypes  # slow to import, and only waiting processes need it

        libc = ctypes.CDLL(None, use_errno=True)

        def open_inotify() -> int:
            file: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if file < 0:  # Linux limits their number for each user
                raise OSError(ctypes.get_errno(), "inotify_init1")
            return file

        file = fork_safety.open_file(open_inotify)
        if libc.inotify_add_watch(file, os.fsencode(path), _IN_CLOSE_WRITE) < 0:
            fork_safety.close_file(file)
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        return file

else:

    def _watch(path: Path) -> int:
        raise OSError(f"this system does not report when {path} is closed")


class FileNotifier:
    """Notifications of one kind of changes. Thread-safe.

    Args:
        path: the file that is opened and closed. Listeners make it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def notify(self) -> None:
        """Notify all listeners, of this process too. Never raises."""
        with suppress(OSError):  # no file, since no process has ever listened; or no permission: listeners poll
            # Only opened: a write would make the file system write its journal, and the caller wait for it.
            os.close(os.open(self._path, os.O_WRONLY))

    def listen(self) -> Listener | None:
        """Listen from now on; None where that is not possible."""
        try:
            os.close(os.open(self._path, os.O_RDONLY | os.O_CREAT, 0o666))
            return Listener(_watch(self._path))
        except (OSError, ImportError, AttributeError):  # no permission, no descriptor left, no ctypes, no inotify
            return None  # the caller polls


class Listener:
    """Receives notifications. For one thread.

    Args:
        file: the descriptor of inotify.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for a notification; whether there was one since the last call."""
        if not self._poll.poll(seconds * 1000):
            return False
        os.read(self._file, 4096)
        return True

    def close(self) -> None:
        """Stop listening."""
        fork_safety.close_file(self._file)
