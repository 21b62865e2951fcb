"""Locks: one value each, with the last token and the end of its hold.

A token is the clock's time in microseconds, or one more than the last token where that is larger. So tokens grow also
after Memcached has dropped a lock together with its last token.
"""

from __future__ import annotations

import math

from drivetrain.contract import Clock
from drivetrain_memcache.codec import Lock
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.protocol import exptime
from drivetrain_memcache.value_store import Found, ValueStore, Write, attempts, contended

__all__ = ["Locks", "next_token"]

#: How long the last token outlives its hold, in seconds: the most by which clocks may differ.
_TOKEN_SECONDS = 86_400


def next_token(last: Lock | None, now: float) -> int:
    """A token that is larger than all earlier ones."""
    return max(int(now * 1e6), 0 if last is None else last.token + 1)


class Locks:
    """Takes, renews and releases locks; see `drivetrain.contract.Locks`. Thread-safe.

    Every method raises ServiceUnavailable if other processes changed the lock during all attempts.
    """

    def __init__(self, values: ValueStore, keys: Keys, clock: Clock) -> None:
        self._values = values
        self._keys = keys
        self._clock = clock

    def acquire(self, name: str, seconds: float) -> int | None:
        """Take a lock; its token, or None while another token holds it."""
        key = self._keys.named(Kind.LOCK, name)
        for _ in attempts(self._clock):
            found, lock = self._read(key)
            now = self._clock.now()
            if lock is not None and lock.is_held(now):
                return None
            taken = Lock(next_token(lock, now), now + seconds)
            if self._write(key, taken, found):
                return taken.token
        raise contended(f"the lock {name!r}")

    def renew(self, name: str, token: int, seconds: float) -> bool:
        """Let the hold end ``seconds`` from now; False if this token does not hold the lock."""
        return self._change(name, token, seconds)

    def release(self, name: str, token: int) -> bool:
        """End the hold now; False if this token does not hold the lock."""
        return self._change(name, token, -math.inf)

    def _change(self, name: str, token: int, seconds: float) -> bool:
        key = self._keys.named(Kind.LOCK, name)
        for _ in attempts(self._clock):
            found, lock = self._read(key)
            now = self._clock.now()
            if lock is None or lock.token != token or not lock.is_held(now):
                return False
            if self._write(key, Lock(token, now + seconds), found):
                return True
        raise contended(f"the lock {name!r}")

    def _read(self, key: Key) -> tuple[Found | None, Lock | None]:
        found = self._values.fetch([key]).get(key)
        return found, None if found is None or found.value is None else Lock.load(found.value)

    def _write(self, key: Key, lock: Lock, before: Found | None) -> bool:
        now = self._clock.now()
        ends_at = max(lock.ends_at, now) + _TOKEN_SECONDS
        (stored,), _ = self._values.change([Write(key, lock.dump(), exptime(ends_at, now), before)])
        return stored
