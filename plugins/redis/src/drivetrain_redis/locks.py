"""Locks on Redis."""

from __future__ import annotations

from drivetrain.contract import whole_units
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import LOCK_SUFFIXES, Keys
from drivetrain_redis.scripts import Script

__all__ = ["RedisLocks"]

_ACQUIRE = Script.load("acquire_lock")
_RENEW = Script.load("renew_lock")
_RELEASE = Script.load("release_lock")

#: About 10,000 years.
_LONGEST_SECONDS = 3e11


class RedisLocks:
    """Named locks; see `drivetrain.contract.Locks`."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        """See `Locks.acquire_lock`."""
        token = self._run(_ACQUIRE, name, _milliseconds(seconds))
        return None if token is None else int(token)

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        """See `Locks.renew_lock`."""
        return bool(self._run(_RENEW, name, str(token), _milliseconds(seconds)))

    def release_lock(self, name: str, token: int) -> bool:
        """See `Locks.release_lock`."""
        return bool(self._run(_RELEASE, name, str(token)))

    def _run(self, script: Script, name: str, *arguments: object) -> bytes | int | None:
        reply: bytes | int | None
        (reply,) = self._client.run([script.call([self._keys.lock(name)], arguments, LOCK_SUFFIXES)])
        return reply


def _milliseconds(seconds: float) -> int:
    return whole_units(seconds, per_second=1000, longest_seconds=_LONGEST_SECONDS)
