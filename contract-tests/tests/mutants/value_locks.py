"""Core's locks on versioned values, broken (L1 to L6): no driver is at fault here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from drivetrain.contract import ValueWrite
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.worker.value_lock import ValueLock
from mutants.backend_base import contract_of, service_of
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_init, _acquire, _write = ValueLock.__init__, ValueLock.acquire, ValueLock._write


def _believes_its_token(lock):
    return lock.token is not None or _acquire(lock)


def _renews_without_an_end(lock):
    if lock.token is None:
        return False
    one = ValueWrite(key=lock._key, value=lock._owner, if_version=lock._version)
    (outcome,) = lock._backend().write_values([one])
    lock._version = outcome.current.version if outcome.written else 0
    return outcome.written


def _counts_its_own(lock):
    if lock.token is None and _acquire(lock):
        lock.tokens = getattr(lock, "tokens", 0) + 1
        lock.token = lock.tokens
    return lock.token is not None


def _named(same):
    def init(lock, backend, name, *, seconds):
        _init(lock, backend, same(name), seconds=seconds)

    return init


_backwards = count(2**53, -1)


def _counts_backwards(lock):
    if lock.token is None and _acquire(lock):
        lock.token = next(_backwards)
    return lock.token is not None


_FAULTS: dict[tuple[str, str], tuple[str, Callable]] = {
    ("L1", "believes a former holder that asks again"): ("acquire", _believes_its_token),
    ("L3", "renews a lock without an end"): ("renew", _renews_without_an_end),
    ("L5", "counts the holders of each object"): ("acquire", _counts_its_own),
    ("L5", "counts tokens backwards"): ("acquire", _counts_backwards),
    ("L6", "has one lock"): ("__init__", _named(lambda _name: "lock")),
    ("L6", "cuts the names of locks at 200 characters"): ("__init__", _named(lambda name: name[:200])),
}


def _change(name: str, function: Callable) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(ValueLock, name, function)


MUTANTS = tuple(
    Mutant(
        name=name,
        clause=clause,
        contract=contract_of(clause),
        service=lambda: service_of(MemoryBackend),
        core=_change(*fault),
    )
    for (clause, name), fault in _FAULTS.items()
)
