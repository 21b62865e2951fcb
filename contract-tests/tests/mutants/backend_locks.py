"""Backends that break L1 to L6: locks."""

from __future__ import annotations

import math
from itertools import count

from drivetrain.contract import evolve
from drivetrain.drivers.memory.backend import MemoryBackend, _Lock
from mutants.backend_base import broken, mutants_of
from mutants.backend_tasks import pause


@broken("L1", "gives the lock to whoever asks")
class GivesToAll(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        self._store.locks.pop(name, None)
        return super().acquire_lock(name, seconds=seconds)


@broken("L1", "gives the lock to its holder again")
class GivesAgain(MemoryBackend):
    mine = ()

    def acquire_lock(self, name, *, seconds):
        if name in self.mine:
            self._store.locks.pop(name, None)
        token = super().acquire_lock(name, seconds=seconds)
        self.mine = {*self.mine, name} if token else self.mine
        return token


@broken("L1", "looks and takes in two steps")
class LooksAndTakes(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        now = self._clock.monotonic()
        lock = self._store.locks.get(name)
        if lock is not None and lock.ends > now:
            return None
        pause()
        token = next(self._store.tokens)
        self._store.locks[name] = _Lock(token, now + seconds)
        return token


class Lasts(MemoryBackend):
    def lasts(self, seconds):
        """How long a lock lasts that was asked for so long."""

    def acquire_lock(self, name, *, seconds):
        return super().acquire_lock(name, seconds=self.lasts(seconds))


@broken("L2", "keeps a lock for ever")
class WithoutEnd(Lasts):
    def lasts(self, seconds):
        return 1e9


@broken("L2", "rounds the time of a lock down to whole seconds")
class RoundsDown(Lasts):
    def lasts(self, seconds):
        return math.floor(seconds)


@broken("L2", "reads more than thirty days as a date")
class ReadsADate(Lasts):
    def lasts(self, seconds):
        return seconds if seconds <= 30 * 86_400 else max(0.0, seconds - self._clock.now())


@broken("L2", "ends locks when it sweeps")
class EndsWhenSwept(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        return None if name in self._store.locks else super().acquire_lock(name, seconds=seconds)


@broken("L3", "renews for anybody")
class RenewsForAll(MemoryBackend):
    def renew_lock(self, name, token, *, seconds):
        lock = self._store.locks.get(name)
        return super().renew_lock(name, lock.token if lock else 0, seconds=seconds)


@broken("L3", "says that it has renewed, and has not")
class RenewsNothing(MemoryBackend):
    def renew_lock(self, name, token, *, seconds):
        return self._store.holds_lock(name, token, self._clock.monotonic())


@broken("L3", "adds a renewal to what is left")
class RenewsFromTheEnd(MemoryBackend):
    def renew_lock(self, name, token, *, seconds):
        lock, now = self._store.locks.get(name), self._clock.monotonic()
        return super().renew_lock(name, token, seconds=seconds + (lock.ends - now if lock else 0))


@broken("L3", "prolongs the lock of another when it refuses")
class ProlongsForeign(MemoryBackend):
    def renew_lock(self, name, token, *, seconds):
        held = super().renew_lock(name, token, seconds=seconds)
        if name in self._store.locks and not held:
            lock = self._store.locks[name]
            self._store.locks[name] = evolve(lock, ends=self._clock.monotonic() + seconds)
        return held


@broken("L3", "makes a lock of one that it does not know")
class RenewsTheUnknown(MemoryBackend):
    def renew_lock(self, name, token, *, seconds):
        if name not in self._store.locks:
            self._store.locks[name] = _Lock(token, self._clock.monotonic() + seconds)
        return super().renew_lock(name, token, seconds=seconds)


@broken("L4", "lets a lock go for anybody")
class ReleasesForAll(MemoryBackend):
    def release_lock(self, name, token):
        return self._store.locks.pop(name, None) is not None


@broken("L4", "says that it has let a lock go whoever asks")
class SaysYes(MemoryBackend):
    def release_lock(self, name, token):
        super().release_lock(name, token)
        return True


@broken("L4", "keeps a lock that was released until it ends")
class ReleasesNothing(MemoryBackend):
    def release_lock(self, name, token):
        return self._store.holds_lock(name, token, self._clock.monotonic())


@broken("L5", "gives every holder the same token")
class SameToken(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        self._store.tokens = count(1)
        return super().acquire_lock(name, seconds=seconds)


@broken("L5", "counts from one when a lock was released")
class BeginsAfterRelease(MemoryBackend):
    def release_lock(self, name, token):
        released = super().release_lock(name, token)
        self._store.tokens = count(1) if released else self._store.tokens
        return released


@broken("L5", "counts from one when it has swept")
class BeginsAfterSweep(MemoryBackend):
    def sweep(self):
        self._store.tokens = count(1)
        return super().sweep()


@broken("L5", "counts from one in each object")
class BeginsWithEachObject(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.tokens = count(1)

    def acquire_lock(self, name, *, seconds):
        if super().acquire_lock(name, seconds=seconds) is None:
            return None
        lock = self._store.locks[name] = evolve(self._store.locks[name], token=next(self.tokens))
        return lock.token


@broken("L6", "has one lock for all names")
class OneLock(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        return super().acquire_lock("the lock", seconds=seconds)

    def release_lock(self, name, token):
        return super().release_lock("the lock", token)

    def renew_lock(self, name, token, *, seconds):
        return super().renew_lock("the lock", token, seconds=seconds)


@broken("L6", "takes names for the same whose first 250 signs are")
class CutsNames(MemoryBackend):
    def acquire_lock(self, name, *, seconds):
        return super().acquire_lock(name[:250], seconds=seconds)


@broken("L6", "takes the token of any lock")
class AnyToken(MemoryBackend):
    def release_lock(self, name, token):
        known = any(lock.token == token for lock in self._store.locks.values())
        return known and self._store.locks.pop(name, None) is not None


MUTANTS = mutants_of(globals())
