"""Handles forks: SQLite's connections are closed before one, and lock files are closed in the child.

SQLite keeps in the memory of the process which locks its connections hold. A child inherits that memory, but not the
locks. If a connection writes during the fork, the child finds the file locked for ever. If a connection is open at all,
the child reads and writes without the locks that keep other processes from removing the log. So SQLite must know of no
open file when a process forks.

An advisory lock on a file lasts as long as any process has that file open, and a child may outlive its parent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from drivetrain.contract import ServiceRefused

__all__ = ["Pausable", "check_usable", "close_file", "open_file", "pause_at_forks"]

#: How long a fork waits for calls that run in other threads, in seconds. They wait for nothing but the disk.
_LONGEST_WAIT_SECONDS = 10.0


class Pausable(Protocol):
    """The owner of at most one connection."""

    path: Path

    @property
    def in_use(self) -> bool:
        """Whether the connection is open, or a thread may be opening it."""
        ...

    def pause(self, seconds: float) -> bool:
        """Close the connection and let no thread open it; False if it is still used after ``seconds``."""
        ...

    def resume(self) -> None:
        """Let threads open it again. Called after `pause` has returned True, in the parent and in the child."""
        ...


_pausables: weakref.WeakSet[Pausable] = weakref.WeakSet()
#: Held from right before a fork until right after it.
_forking = threading.Lock()
_paused: list[Pausable] = []
#: What a parent could not close. Referenced here for ever: to collect an open connection would close it for the parent.
_inherited: list[Pausable] = []
#: The paths of `_inherited`.
_unusable: set[Path] = set()

#: Descriptors that a child closes.
_files: set[int] = set()
#: Held while a file is opened, and while this process forks.
_opening = threading.RLock()


def pause_at_forks(pausable: Pausable) -> None:
    """Pause ``pausable`` whenever this process forks. Does not keep it alive."""
    _pausables.add(pausable)


def check_usable(path: Path) -> None:
    """Check that this process may open a file.

    Raises:
        ServiceRefused: the parent had it open in the middle of the fork.
    """
    if path in _unusable:
        raise ServiceRefused(
            f"{path} was in use when process {os.getppid()} forked process {os.getpid()}, which therefore cannot use "
            "it; fork outside of calls to the app, or start the process with the method 'spawn'"
        )


def open_file(opener: Callable[[], int]) -> int:
    """The descriptor that ``opener`` returns. No child inherits it without closing it.

    Raises:
        OSError: ``opener`` raised it.
    """
    with _opening:
        file = opener()
        _files.add(file)
    return file


def close_file(file: int) -> None:
    """Close a descriptor of `open_file`."""
    _files.discard(file)
    os.close(file)


def _before() -> None:
    _opening.acquire()
    _forking.acquire()
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    _paused.extend(each for each in list(_pausables) if each.pause(max(0.0, deadline - time.monotonic())))


def _after() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()
    _opening.release()


def _after_in_child() -> None:
    for pausable in list(_pausables):
        if pausable.in_use and pausable not in _paused:
            _inherited.append(pausable)
            _unusable.add(pausable.path)
    while _files:
        os.close(_files.pop())
    if _forking.locked():  # otherwise a program that embeds Python has forked without Python's hooks
        _after()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
