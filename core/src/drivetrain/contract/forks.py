"""What drivers do about forks: set objects right in the child, and finish calls before."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["ForkAware", "finish_before_forks", "reset_after_fork"]

#: How long a fork waits for what other threads are to finish before it, in seconds.
_PATIENCE_SECONDS = 10.0


class ForkAware(Protocol):
    """An object that a forked child inherits and goes on using."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent. Runs in the child, before anything else, and must not block or raise.

        Of the parent's threads the child has only the one that forked. A lock that another one held is never released:
        make a new one. A connection still belongs to the parent: neither use nor close it.
        """
        ...


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def reset_after_fork(target: ForkAware) -> None:
    """Call ``target.after_fork()`` in every child that this process forks. Does not keep ``target`` alive."""
    _registered.add(target)


class _Unfinished:
    """The threads that a fork waits for."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.threads: set[int] = set()

    def only_mine(self) -> bool:
        return self.threads <= {threading.get_ident()}


_unfinished = _Unfinished()


@contextmanager
def finish_before_forks() -> Iterator[None]:
    """While a thread is in this block, a fork of this process waits for it, up to ten seconds. Do not nest it.

    For calls of libraries that hold locks which a child could never acquire, as OpenSSL does while it connects.
    """
    ours, thread = _unfinished, threading.get_ident()
    with ours.changed:
        ours.threads.add(thread)
    try:
        yield
    finally:
        with ours.changed:
            ours.threads.discard(thread)
            ours.changed.notify_all()


def _before() -> None:
    _unfinished.changed.acquire()
    _unfinished.changed.wait_for(_unfinished.only_mine, _PATIENCE_SECONDS)


def _after_in_parent() -> None:
    _unfinished.changed.release()


def _after_in_child() -> None:
    global _unfinished  # noqa: PLW0603 - a lock of its own
    _unfinished = _Unfinished()
    for target in list(_registered):
        target.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
