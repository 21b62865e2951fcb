"""Objects that set themselves right in a forked child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "reset_after_fork"]


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


def _reset_all() -> None:
    for target in list(_registered):
        target.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
