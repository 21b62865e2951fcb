"""Stores that driver objects of one process share by name."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from drivetrain.contract import reset_after_fork

__all__ = ["NamedStores"]

T = TypeVar("T")


class NamedStores(Generic[T]):
    """Stores by name; each exists as long as an object uses it. Thread-safe.

    A forked child starts without any: a thread of the parent may have been in the middle of a change.

    Args:
        make: makes an empty store.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.after_fork()
        reset_after_fork(self)

    def get(self, name: str) -> T:
        """The store of this name; a new one if the name is empty."""
        if not name:
            return self._make()
        with self._lock:
            return self._stores.setdefault(name, self._make())

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._stores: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
