"""Values that every process makes for itself: connections, threads, and the objects that own them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from drivetrain.contract import reset_after_fork

__all__ = ["PerProcess"]

T = TypeVar("T")

#: Values that forked children have inherited. They stay referenced: their destructors may write to the parent's
#: connections, or wait for a lock that a thread of the parent held.
_inherited: list[Any] = []


class PerProcess(Generic[T]):
    """A value that is made at first use, once in each process. Thread-safe.

    A forked child makes its own value, also if it was forked while a thread of its parent made one.

    Args:
        make: makes the value; called by one thread at a time.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[T] | None = None
        self._lock = threading.Lock()
        reset_after_fork(self)

    def get(self) -> T:
        """The value of this process."""
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._made or (self._make(),)
        return made[0]

    @property
    def is_made(self) -> bool:
        """Whether this process has made its value."""
        return self._made is not None

    def take(self) -> T | None:
        """The value of this process, or None if it has made none. The next `get` makes another one."""
        with self._lock:
            made, self._made = self._made, None
        return None if made is None else made[0]

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock = threading.Lock()
        if self._made is not None:
            _inherited.append(self._made)
            self._made = None
