"""Named locks over the app's backend."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from drivetrain.contract import Backend, DrivetrainError, NotSupported, reset_after_fork
from drivetrain.worker.value_lock import ValueLock

__all__ = ["Lock", "LockHeld"]


class LockHeld(DrivetrainError):
    """Another owner holds the lock."""


class Lock:
    """A named lock that expires. ``with app.lock("nightly", seconds=60) as lock: …``.

    Pass `token` along with each write to another system, so that it can refuse a late writer: each later owner has a
    larger token. A forked child does not own the locks of its parent.
    """

    def __init__(self, backend: Callable[[], Backend], name: str, seconds: float) -> None:
        if not backend().capabilities.stores:
            raise NotSupported("locks need a backend that stores results, and this app's backend is null://")
        self._lock = ValueLock(backend, name, seconds=seconds)
        self.name = name
        reset_after_fork(self)

    @property
    def token(self) -> int | None:
        """The fencing token while this object owns the lock; None otherwise. It is the same after a renewal."""
        return self._lock.token

    def acquire(self) -> bool:
        """Take the lock if it is free, or renew it if this object owns it; whether this object owns it now."""
        return self._lock.acquire()

    def renew(self) -> bool:
        """Extend the lock to its full time from now; False if it has expired, and may have another owner."""
        return self._lock.renew()

    def release(self) -> bool:
        """Release the lock; False if this object no longer owned it."""
        return self._lock.release()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock.disown()

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            LockHeld: another owner has it.
        """
        if not self.acquire():
            raise LockHeld(f"the lock {self.name!r} is held by another owner; try again when it has expired")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
