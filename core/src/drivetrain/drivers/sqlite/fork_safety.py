"""Connections across a fork: all are closed right before it, and opened again by their next use.

SQLite keeps in the memory of the process which locks its connections hold. A child inherits that memory, but not the
locks: if a connection writes at the time of the fork, the child finds the file locked for ever; and if one is open at
all, the child reads and writes without the locks that keep other processes from removing the log under it. So SQLite
must know of no open file when a process forks.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path
from typing import Protocol

from drivetrain.contract import ServiceRefused

__all__ = ["Pausable", "check_usable", "pause_at_forks"]

#: How long a fork waits for calls that run in other threads, in seconds. They wait for nothing but the disk.
_PATIENCE_SECONDS = 10.0


class Pausable(Protocol):
    """A place for one connection."""

    path: Path

    @property
    def in_use(self) -> bool:
        """Whether the connection is open, or may be: a thread uses it."""
        ...

    def pause(self, seconds: float) -> bool:
        """Close the connection and let no thread open it; False if it is still used after ``seconds``."""
        ...

    def resume(self) -> None:
        """Let threads open it again. Called after `pause` has returned True, in the parent and in the child."""
        ...


_links: weakref.WeakSet[Pausable] = weakref.WeakSet()
#: Held from right before a fork until right after it.
_forking = threading.Lock()
_paused: list[Pausable] = []
#: What a parent could not close. Kept: to drop an open connection means to close it, in the parent's name.
_inherited: list[Pausable] = []
#: The files of these.
_unusable: set[Path] = set()


def pause_at_forks(link: Pausable) -> None:
    """Pause ``link`` whenever this process forks. Does not keep it alive."""
    _links.add(link)


def check_usable(path: Path) -> None:
    """Check that this process may open a file.

    Raises:
        ServiceRefused: a parent had it open in the middle of the fork.
    """
    if path in _unusable:
        raise ServiceRefused(
            f"{path} was in use when process {os.getppid()} forked process {os.getpid()}, which therefore cannot use "
            "it; fork outside of calls to the app, or start the process with the method 'spawn'"
        )


def _before() -> None:
    _forking.acquire()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    _paused.extend(link for link in list(_links) if link.pause(max(0.0, deadline - time.monotonic())))


def _after() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()


def _after_in_child() -> None:
    for link in list(_links):
        if link.in_use and link not in _paused:
            _inherited.append(link)
            _unusable.add(link.path)
    if _forking.locked():  # not where an embedding program has forked without the hooks of Python
        _after()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
