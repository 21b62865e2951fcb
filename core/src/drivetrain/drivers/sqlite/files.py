"""Files that a forked child closes at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["close", "open_outside_forks"]

#: To be closed in forks: a lock lasts for as long as any process has its file open, and a fork may outlive us.
_files: set[int] = set()
#: Held while a file is opened, and while this process forks.
_opening = threading.RLock()


def open_outside_forks(open_file: Callable[[], int]) -> int:
    """The file that ``open_file`` opens, at no time at which a child inherits it without closing it."""
    with _opening:
        file = open_file()
        _files.add(file)
    return file


def close(file: int) -> None:
    """Close what `open_outside_forks` has opened."""
    _files.discard(file)
    os.close(file)


def _before() -> None:
    _opening.acquire()


def _after() -> None:
    _opening.release()


def _after_in_child() -> None:
    while _files:
        os.close(_files.pop())
    _after()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
