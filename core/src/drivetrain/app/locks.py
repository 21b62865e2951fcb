"""Named locks over the app's backend."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from drivetrain.contract import Backend, DrivetrainError, NotSupported, reset_after_fork

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
        self._backend = backend
        self._seconds = seconds
        self.name = name
        #: The fencing token while this object owns the lock; None otherwise.
        self.token: int | None = None
        reset_after_fork(self)

    def acquire(self) -> bool:
        """Take the lock if it is free; whether this object owns it now."""
        if self.token is None:
            self.token = self._backend().acquire_lock(self.name, seconds=self._seconds)
        return self.token is not None

    def renew(self) -> bool:
        """Extend the lock to its full time from now; False if it has expired, and may have another owner."""
        return self.token is not None and self._backend().renew_lock(self.name, self.token, seconds=self._seconds)

    def release(self) -> bool:
        """Release the lock; False if this object no longer owned it."""
        token, self.token = self.token, None
        return token is not None and self._backend().release_lock(self.name, token)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self.token = None

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
