"""Locks: an item each, with its token and its end.

Tokens are microseconds of the clock, or one more than the last where that is not larger. So they grow also after
Memcached has dropped a lock, and its last token with it.
"""

from __future__ import annotations

import json
import math

from attrs import frozen

from drivetrain.contract import Clock, ServiceUnavailable
from drivetrain_memcache.catalogue import ROUNDS, pause
from drivetrain_memcache.expiry import exptime
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.store import Found, Store, Write

__all__ = ["Lock", "Locks"]

#: How long the last token is kept after the end of a lock, in seconds: so long clocks may differ.
_KEPT_SECONDS = 86_400


@frozen
class Lock:
    """A lock as it is kept. Pure."""

    token: int
    #: Unix seconds.
    ends_at: float

    def dump(self) -> bytes:
        """As bytes."""
        return json.dumps([self.token, self.ends_at]).encode("ascii")

    @classmethod
    def load(cls, data: bytes) -> Lock:
        """From bytes."""
        return cls(*json.loads(data))

    def held(self, now: float) -> bool:
        """Whether somebody holds it."""
        return self.ends_at > now


def next_token(last: Lock | None, now: float) -> int:
    """A token that is larger than all before."""
    return max(int(now * 1e6), 0 if last is None else last.token + 1)


class Locks:
    """See the module, and `drivetrain.contract.Locks`. Thread-safe."""

    def __init__(self, store: Store, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def acquire(self, name: str, seconds: float) -> int | None:
        """Take it; its token, or None while somebody holds it."""
        key = self._keys.named(Kind.LOCK, name)
        for number in range(ROUNDS):
            pause(self._clock, number)
            found, lock = self._find(key)
            now = self._clock.now()
            if lock is not None and lock.held(now):
                return None
            taken = Lock(next_token(lock, now), now + seconds)
            if self._write(key, taken, found):
                return taken.token
        raise _contended(name)

    def renew(self, name: str, token: int, seconds: float) -> bool:
        """Hold it for so long from now; False if this token does not hold it."""
        return self._change(name, token, seconds)

    def release(self, name: str, token: int) -> bool:
        """Let it go; False if this token does not hold it."""
        return self._change(name, token, -math.inf)

    def _change(self, name: str, token: int, seconds: float) -> bool:
        key = self._keys.named(Kind.LOCK, name)
        for number in range(ROUNDS):
            pause(self._clock, number)
            found, lock = self._find(key)
            now = self._clock.now()
            if lock is None or lock.token != token or not lock.held(now):
                return False
            if self._write(key, Lock(token, now + seconds), found):
                return True
        raise _contended(name)

    def _find(self, key: Key) -> tuple[Found | None, Lock | None]:
        found = self._store.fetch([key]).get(key)
        return found, None if found is None or found.value is None else Lock.load(found.value)

    def _write(self, key: Key, lock: Lock, before: Found | None) -> bool:
        now = self._clock.now()
        kept_until = max(lock.ends_at, now) + _KEPT_SECONDS
        (stored,), _ = self._store.change([Write(key, lock.dump(), exptime(kept_until, now), before)])
        return stored


def _contended(name: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"the lock {name!r} is changed by others without end; try again")
