"""Named locks over the app's backend."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from drivetrain.contract import Backend, Clock, DrivetrainError, NotSupported, reset_after_fork
from drivetrain.worker.value_lock import ValueLock
from drivetrain.worker.value_waiting import wait_for_values

__all__ = ["Lock", "LockHeld"]


#: How long one wait without limit lasts, in seconds; then the next one begins.
_LONGEST_WAIT_SECONDS = 60.0


class LockHeld(DrivetrainError):
    """Another owner holds the lock."""


class Lock:
    """A named lock that expires. ``with app.lock("nightly", seconds=60, wait_seconds=10) as lock: …``.

    Pass `token` along with each write to another system, so that it can refuse a late writer: each later owner has a
    larger token. A forked child does not own the locks of its parent. Callers that wait get it in no order.
    """

    def __init__(
        self, backend: Callable[[], Backend], clock: Clock, name: str, *, seconds: float, wait_seconds: float | None
    ) -> None:
        """Make it; `acquire` or ``with`` takes it. See `App.lock` for the arguments."""
        if not backend().capabilities.stores:
            raise NotSupported("locks need a backend that stores results, and this app's backend is null://")
        self._backend = backend
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._lock = ValueLock(backend, name, seconds=seconds)
        self.name = name
        reset_after_fork(self)

    @property
    def token(self) -> int | None:
        """The fencing token while this object owns the lock; None otherwise. It is the same after a renewal."""
        return self._lock.token

    def acquire(self, *, wait_seconds: float | None = 0.0) -> bool:
        """Take the lock when it is free, or renew it if this object owns it; whether this object owns it now.

        Args:
            wait_seconds: how long to wait for the lock, in seconds; None: without limit.

        Raises:
            ServiceError: the backend could not be reached.
        """
        began = self._clock.monotonic()
        while not self._lock.acquire():
            remaining = _LONGEST_WAIT_SECONDS
            if wait_seconds is not None:
                remaining = began + wait_seconds - self._clock.monotonic()
            if remaining <= 0:
                return False
            wait_for_values(self._backend(), self._clock, self._lock.refused_by, timeout_seconds=remaining)
        return True

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
            LockHeld: another owner has it, also after the wait.
            ServiceError: the backend could not be reached.
        """
        if not self.acquire(wait_seconds=self._wait_seconds):
            waited = f", after {self._wait_seconds:g} s of waiting" if self._wait_seconds else ""
            raise LockHeld(
                f"the lock {self.name!r} is held by another owner{waited}; try again later, or wait for it with "
                "wait_seconds"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
