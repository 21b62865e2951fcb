"""After a fork: what was connected is the parent's, and a child that uses it would read the parent's answers."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["forget_after_fork"]


class _Connected(Protocol):
    def forget(self) -> None:
        """Let go of connections without a word to the server."""
        ...


_connected: weakref.WeakSet[_Connected] = weakref.WeakSet()


def forget_after_fork(connected: _Connected) -> None:
    """See that ``connected`` forgets its connections in children of this process."""
    _connected.add(connected)


def _forget_all() -> None:
    for connected in list(_connected):
        connected.forget()


os.register_at_fork(after_in_child=_forget_all)
