"""What drivers do about forks: reset objects in the child, and finish calls before a fork."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["ForkAware", "finish_before_forks", "reset_after_fork"]

#: How long a fork waits for other threads to finish, in seconds.
_LONGEST_WAIT_SECONDS = 10.0


class ForkAware(Protocol):
    """An object that a forked child inherits and uses."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent. Runs in the child before anything else; it must not block or raise.

        The child has only that thread of its parent that forked. A lock that another thread held is never released:
        make a new one. A connection belongs to the parent: do not use it, and do not close it.
        """
        ...


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def reset_after_fork(target: ForkAware) -> None:
    """Call ``target.after_fork()`` in every child that this process forks. Does not keep ``target`` alive."""
    _registered.add(target)


class _Unfinished:
    """The threads that a fork waits for, and the threads that wait in order to fork."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.threads: set[int] = set()
        self.forking: set[int] = set()

    def only_mine(self) -> bool:
        return self.threads <= {threading.get_ident()}

    def may_enter(self) -> bool:
        # Otherwise threads that enter one after another would keep a fork waiting.
        return self.forking <= {threading.get_ident()}


_unfinished = _Unfinished()


@contextmanager
def finish_before_forks() -> Iterator[None]:
    """While a thread is in this block, a fork of this process waits for it, at most ten seconds. Do not nest it.

    While a fork waits, other threads wait before they enter the block. Use it for calls of libraries that hold locks
    which a child could never acquire, as OpenSSL does while it connects.
    """
    ours, thread = _unfinished, threading.get_ident()
    with ours.changed:
        ours.changed.wait_for(ours.may_enter)
        ours.threads.add(thread)
    try:
        yield
    finally:
        with ours.changed:
            ours.threads.discard(thread)
            ours.changed.notify_all()


def _before() -> None:
    _unfinished.changed.acquire()
    _unfinished.forking.add(threading.get_ident())
    _unfinished.changed.wait_for(_unfinished.only_mine, _LONGEST_WAIT_SECONDS)


def _after_in_parent() -> None:
    _unfinished.forking.discard(threading.get_ident())
    _unfinished.changed.notify_all()
    _unfinished.changed.release()


def _after_in_child() -> None:
    global _unfinished  # noqa: PLW0603 - a lock of its own
    _unfinished = _Unfinished()
    for target in list(_registered):
        target.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
