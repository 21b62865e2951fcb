"""Brokers that break B40 and B43 when a process is killed: a driver that is installed and shared, broken over there."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from drivetrain_contract_tests import Service
from mutants.broker_base import FOUND, Impatient
from mutants.mutant import Mutant

_TESTS = Path(__file__).resolve().parents[1]


def _service(name):
    directory = tempfile.mkdtemp(prefix="drivetrain-mutant-")
    prelude = f"sys.path.insert(0, {str(_TESTS)!r}); import broken_sqlite; broken_sqlite.install({name!r})"
    service = Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db", prelude=prelude)
    weakref.finalize(service, shutil.rmtree, directory, ignore_errors=True)
    return service


def _breaks(clause, name, kind, by):
    FOUND.append(Mutant(name=name, clause=clause, contract=Impatient, service=lambda: _service(kind), by=by))


_SENDER, _CONSUMER = "test_the_death_of_a_sender_loses_nothing", "test_what_a_killed_process_held_comes_back"

_breaks("B40", "returns before it has written", "WritesBehind", _SENDER)
_breaks("B43", "acknowledges at receipt in a process that is killed", "AcknowledgesAtReceipt", _CONSUMER)
_breaks("B43", "holds for ever what a process held that was killed", "HoldsForEver", _CONSUMER)
