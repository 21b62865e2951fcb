"""Backends, and core, that break L1 to L6: locks on versioned values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivetrain.contract import ValueWrite, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.worker.value_lock import ValueLock
from mutants import backend_value_lists, backend_values
from mutants.backend_base import ImpatientLocks, broken, mutants_of, service_of
from mutants.mutant import Mutant
from mutants.value_base import Renames, Writes

_CORE: list[Mutant] = []


def breaks_locks(replaced: str, clause: str, name: str) -> Callable[[Any], Any]:
    """Mark a function that replaces a method of `ValueLock` with the clause that it breaks."""

    def mark(method: Any) -> Any:
        _CORE.append(
            Mutant(
                name=name,
                clause=clause,
                contract=ImpatientLocks,
                service=lambda: service_of(MemoryBackend),
                core=lambda patch: patch.setattr(ValueLock, replaced, method),
            )
        )
        return method

    return mark


def _on(clause: str, name: str, kind: type[MemoryBackend]) -> Mutant:
    """Locks on a backend whose versioned values are broken."""
    return Mutant(name=name, clause=clause, contract=ImpatientLocks, service=lambda: service_of(kind))


_acquire, _renew, _release, _change = ValueLock.acquire, ValueLock.renew, ValueLock.release, ValueLock._change


def _write(lock, value, if_version, seconds=None):
    write = ValueWrite(key=lock._key, value=value, if_version=if_version, expires_in_seconds=seconds)
    return lock._backend().write_values([write])[0]


# L1, L2


@breaks_locks("acquire", "L1", "gives the lock to whoever asks")
def gives_to_all(self):
    self.token = self._version = _write(self, self._owner, None, self._seconds).current.version
    return True


@breaks_locks("disown", "L1", "takes all callers for one owner")
def one_owner(self):
    self._owner, self.token = b"owner", None


@breaks_locks("acquire", "L1", "looks whether the lock is held, and writes then")
def looks_and_takes(self):
    if self._backend().read_values([self._key]) != [None]:
        return False
    self.token = self._version = _write(self, self._owner, None, self._seconds).current.version
    return True


@breaks_locks("acquire", "L2", "takes a lock without an end")
def without_end(self):
    self._seconds, seconds = None, self._seconds
    try:
        return _acquire(self)
    finally:
        self._seconds = seconds


@breaks_locks("acquire", "L2", "cuts the time of a lock to whole seconds")
def rounds_down(self):
    self._seconds = max(0.001, self._seconds // 1)
    return _acquire(self)


@breaks_locks("release", "L2", "believes a holder that its lock has not ended")
def believes_the_holder(self):
    held, self.token = self.token is not None, None
    _change(self, None)
    return held


# L3


@breaks_locks("renew", "L3", "renews for a former holder")
def renews_for_all(self):
    _write(self, self._owner, None, self._seconds)
    return True


@breaks_locks("renew", "L3", "says that it has renewed, and has not")
def renews_nothing(self):
    return self.token is not None and self._backend().read_values([self._key])[0] is not None


@breaks_locks("renew", "L3", "renews a lock for five per cent less")
def renews_for_less(self):
    self._seconds *= 0.95
    return _renew(self)


@breaks_locks("renew", "L3", "adds a renewal to what is left")
def renews_from_the_end(self):
    (found,) = self._backend().read_values([self._key])
    seconds, self._seconds = self._seconds, self._seconds + (found.expires_in_seconds if found else 0.0)
    try:
        return _renew(self)
    finally:
        self._seconds = seconds


@breaks_locks("renew", "L3", "has another token after a renewal")
def changes_the_token(self):
    held = _renew(self)
    self.token = self._version if held else None
    return held


@breaks_locks("renew", "L3", "takes a lock that was lost when it renews it")
def takes_by_renewing(self):
    return _renew(self) or (self._version != 0 and _acquire(self))


# L4


@breaks_locks("release", "L4", "releases a lock for anybody")
def releases_for_all(self):
    self.token = None
    return _write(self, None, None).written


@breaks_locks("release", "L4", "says that it has released a lock whoever asks")
def says_yes(self):
    _release(self)
    return True


@breaks_locks("release", "L4", "keeps a lock that was released until it ends")
def releases_nothing(self):
    token, self.token = self.token, None
    return token is not None and self._backend().read_values([self._key])[0] is not None


# L5


@breaks_locks("acquire", "L5", "gives every holder the same token")
def same_token(self):
    if _acquire(self):
        self.token = 1
    return self.token is not None


@breaks_locks("acquire", "L5", "gives a random token")
def random_token(self):
    if self.token is None and _acquire(self):
        self.token = id(object()) ^ hash(self._owner) & 0xFFFF_FFFF
    return self.token is not None


# L6


@broken("L6", "has one lock for all names")
class OneLock(Renames):
    def same(self, key):
        return "the lock"


@broken("L6", "takes names for the same whose first 250 characters are")
class CutsNames(Renames):
    def same(self, key):
        return key[:250]


@broken("L6", "hashes the names of locks to fifteen bits of their ends")
class HashesEnds(Renames):
    def same(self, key):
        return str(sum(key[-20:].encode("utf-8", "surrogatepass")) % 2**15)


@broken("L6", "ends a lock when another one is released")
class EndsOthers(Writes):
    def write(self, write, now):
        if write.value is None and write.if_version is not None:
            for key in list(self._store.values._values):
                super().write(evolve(write, key=key, if_version=None), now)
        return super().write(write, now)


MUTANTS = (
    *mutants_of(globals()),
    *_CORE,
    _on("L1", "writes a value whatever its version is", backend_values.IgnoresVersions),
    _on("L1", "reads and writes a value in two steps", backend_values.ReadsAndWrites),
    _on("L1", "replaces a value that has ended in two steps", backend_values.ReplacesInTwoSteps),
    _on("L2", "keeps values for ever", backend_values.WithoutEnd),
    _on("L2", "ends values five per cent early", backend_values.Short),
    _on("L2", "counts the time of a value in 32 bits of milliseconds", backend_values.In32Bits),
    _on("L2", "keeps a value for a second at least", backend_values.ForASecond),
    _on("L2", "refuses writes because of what has ended until it is swept", backend_values.RefusesByTheEnded),
    _on("L2", "counts the time of values by the clock of the client", backend_values.ByTheClient),
    _on("L3", "keeps the first end of a value", backend_values.KeepsTheEnd),
    _on("L4", "removes nothing", backend_values.StoresEmpty),
    _on("L5", "counts the versions of a value from one after its removal", backend_values.BeginsAfterRemoval),
    _on("L5", "counts versions from one after a sweep", backend_values.BeginsAfterSweep),
    _on("L5", "counts versions in each object", backend_values.CountsInEachObject),
    _on("L5", "reads the last version and adds one in two steps", backend_values.CountsInTwoSteps),
    _on("L6", "takes keys for the same that look the same", backend_value_lists.Composes),
    _on("L6", "takes keys for the same but for blanks at their end", backend_value_lists.Strips),
    _on("L6", "takes keys for the same but for case", backend_value_lists.Folds),
    _on("L6", "hashes keys to sixteen bits", backend_value_lists.HashesKeys),
)
