"""What is broken under real workers: a broker, a backend, or core itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivetrain.drivers.memory import MemoryBackend, MemoryBroker
from drivetrain_contract_tests import Pair, Service, WorkflowContract
from mutants.mutant import Mutant

__all__ = ["FOUND", "Hasty", "breaks_core", "breaks_pair", "name_of", "pair"]

FOUND: list[Mutant] = []


class Hasty(WorkflowContract):
    """What a broken driver does not do, it need not be waited for long."""

    patience_seconds = 1.5
    short_lease_seconds = 0.4
    shrink_seconds = 0.0


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
        FOUND.append(Mutant(name=name, clause=clause, contract=Hasty, service=lambda: pair(**{role: kind})))
        return kind

    return mark


def breaks_core(clause: str, name: str) -> Callable[[Any], Any]:
    """Mark a function that breaks core, with the clause that core breaks then, and what it does."""

    def mark(change: Callable[[pytest.MonkeyPatch], None]):
        FOUND.append(Mutant(name=name, clause=clause, contract=Hasty, service=pair, core=change))
        return change

    return mark
