"""Signals to the processes that tasks fork: they are meant for these, and not for the worker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable

__all__ = ["restore_in_children"]


def restore_in_children(numbers: Iterable[signal.Signals], restore: Callable[[], None]) -> None:
    """Call ``restore`` in every child that this process forks from now on, before any of these signals gets there.

    Args:
        numbers: the signals that this process handles by itself.
        restore: gives them the handlers back that they had before.
    """
    if not hasattr(os, "register_at_fork"):
        return
    masks = threading.local()

    # Without a block, a signal right after the fork is handled as in the parent, or forgotten: Python clears it.
    def block() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def restore_and_unblock() -> None:
        restore()
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore_and_unblock)
