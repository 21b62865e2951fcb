"""What is broken under real workers: a broker, a backend, or core itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivetrain.drivers.memory import MemoryBackend, MemoryBroker
from drivetrain_contract_tests import Pair, Service, WorkflowContract
from mutants.mutant import Mutant

__all__ = ["FOUND", "Hasty", "Patient", "breaks_core", "breaks_pair", "contract_of", "name_of", "pair"]

FOUND: list[Mutant] = []


class Hasty(WorkflowContract):
    """What a broken driver does not do, it need not be waited for long."""

    patience_seconds = 1.5
    short_lease_seconds = 0.4
    shrink_seconds = 0.0


class Patient(Hasty):
    """For checks in which a correct pair takes longer: it waits for several leases, or tries again and again."""

    patience_seconds = 6.0
    short_lease_seconds = 0.2


#: The clauses of such checks.
_SLOW = ("W11", "W22", "W23")


def contract_of(clause: str) -> type[Hasty]:
    """The contract whose checks must catch what breaks ``clause``."""
    return Patient if clause in _SLOW else Hasty


def name_of(url):
    return url.partition("://")[2]


def pair(broker=MemoryBroker, backend=MemoryBackend):
    return Pair(
        Service(broker_maker=lambda url, context: broker(name_of(url), context.clock)),
        Service(backend_maker=lambda url, context: backend(name_of(url), context.clock)),
    )


def breaks_pair(clause: str, name: str) -> Callable[[Any], Any]:
    """Mark a broken broker or backend with the clause that it breaks, and what it does."""

    def mark(kind):
        role = "broker" if issubclass(kind, MemoryBroker) else "backend"
        FOUND.append(
            Mutant(name=name, clause=clause, contract=contract_of(clause), service=lambda: pair(**{role: kind}))
        )
        return kind

    return mark


def breaks_core(clause: str, name: str) -> Callable[[Any], Any]:
    """Mark a function that breaks core, with the clause that core breaks then, and what it does."""

    def mark(change: Callable[[pytest.MonkeyPatch], None]):
        FOUND.append(Mutant(name=name, clause=clause, contract=contract_of(clause), service=pair, core=change))
        return change

    return mark
