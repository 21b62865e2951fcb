"""Locks on versioned values."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from drivetrain.contract import ValueOutcome, ValueWrite, VersionedValue, VersionedValues

__all__ = ["ValueLock"]

#: The keys of locks begin with it.
_PREFIX = "locks/"
_OWNER_BYTES = 16


class ValueLock:
    """A named lock: a versioned value that ends by itself. The owner that writes it where nothing is stored holds it.

    The value is an id of its owner. By it an owner recognises its own write when the reply was lost: a lost reply
    neither loses the lock nor leaves it to nobody. For one thread at a time.

    Args:
        backend: gives the backend that stores the value.
        name: the name of the lock, any text.
        seconds: how long the lock is held after `acquire` or `renew`, more than 0.

    All methods raise `ServiceError` if the backend does; then they may be called again.
    """

    def __init__(self, backend: Callable[[], VersionedValues], name: str, *, seconds: float) -> None:
        self._backend = backend
        self._key = _PREFIX + name
        self._seconds = seconds
        self._version = 0
        #: The version of the value that has refused the last `acquire`, by key; empty: none has.
        self.refused_by: Mapping[str, int] = {}
        self.disown()

    def disown(self) -> None:
        """Be another owner, which holds nothing: in a forked child the lock is its parent's."""
        self._owner = secrets.token_hex(_OWNER_BYTES).encode()
        #: The fencing token, while this owner holds the lock: the version of the write that took it. Renewals keep it.
        self.token: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody holds it; whether this owner holds it now. Its holder renews it."""
        if not self.renew():
            self.refused_by = {}
            outcome = self._write(self._owner, if_version=0)
            if outcome.current is not None and self._is_mine(outcome.current):
                token = self._version = outcome.current.version
                # A write that was refused by its own value is a repetition: the first one's time has begun earlier.
                if outcome.written or self._change(self._owner):
                    self.token = token
            elif outcome.current is not None:
                self.refused_by = {self._key: outcome.current.version}
        return self.token is not None

    def renew(self) -> bool:
        """Hold the lock for its full time from now; False if this owner does not hold it any more."""
        if self.token is not None and not self._change(self._owner):
            self.token = None
        return self.token is not None

    def release(self) -> bool:
        """Release the lock; False if this owner did not hold it any more."""
        token, self.token = self.token, None
        return token is not None and self._change(None)

    def _change(self, value: bytes | None) -> bool:
        """Write or remove the value of this owner; False if it is not stored any more."""
        for _ in range(2):  # twice, for the reply to the last renewal may have been lost, and with it the new version
            outcome = self._write(value, if_version=self._version)
            if outcome.current is not None and self._is_mine(outcome.current):
                self._version = outcome.current.version
            elif not outcome.written:
                return False
            if outcome.written:
                return True
        return False

    def _is_mine(self, stored: VersionedValue) -> bool:
        return stored.value == self._owner

    def _write(self, value: bytes | None, *, if_version: int) -> ValueOutcome:
        seconds = None if value is None else self._seconds
        write = ValueWrite(key=self._key, value=value, if_version=if_version, expires_in_seconds=seconds)
        (outcome,) = self._backend().write_values([write])
        return outcome
