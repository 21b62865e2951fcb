"""Brokers and backends that break B46 and R39: what a forked child inherits keeps it from working, or its parent."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import weakref

from drivetrain.contract import RunLease, ServiceUnavailable, ValueWrite, reset_after_fork
from drivetrain.drivers import sqlite
from drivetrain_contract_tests import Service
from mutants import backend_base, broker_base
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

#: As they are, whatever stands in their place in the module.
_Broker, _Backend = sqlite.SqliteBroker, sqlite.SqliteBackend
#: What a child waits for in vain, in seconds.
_VAIN_SECONDS = 1.0
#: What all objects of the process share; nothing makes it new in a child.
_LOCK = threading.Lock()


class Alone:
    """Holds a lock of the process while it calls the service."""

    def __enter__(self):
        if not _LOCK.acquire(timeout=_VAIN_SECONDS):
            raise ServiceUnavailable("another thread uses the connection")
        time.sleep(0.01)

    def __exit__(self, *_error):
        _LOCK.release()


class LockedBroker(_Broker):
    def publish(self, messages):
        with Alone():
            super().publish(messages)


class GivesBack(_Broker):
    """Is closed in a child as it is where it belongs, and gives back what it holds."""

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self.how, self.held = (options, clock), []
        self.in_child = _InChild(self.leave)
        reset_after_fork(self.in_child)

    def leave(self):
        _Broker(*self.how).release(self.held)

    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        self.held += found
        return found


class Settles(GivesBack):
    """Settles in a child what it has received, as it does at the end of its process."""

    def leave(self):
        _Broker(*self.how).acknowledge(self.held)


class LockedBackend(_Backend):
    def record(self, transitions):
        with Alone():
            return super().record(transitions)


class RemovesValues(_Backend):
    """Removes in a child what it has written, as it does at the end of its process."""

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self.how, self.keys = (options, clock), set()
        self.in_child = _InChild(self.remove)
        reset_after_fork(self.in_child)

    def write_values(self, writes):
        self.keys.update(each.key for each in writes)
        return super().write_values(writes)

    def remove(self):
        _Backend(*self.how).write_values([ValueWrite(key=key, value=None) for key in self.keys])


class EndsLeases(_Backend):
    """Ends the leases of its runs in a child, as it does at the end of its process."""

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self.how, self.leases = (options, clock), []
        self.in_child = _InChild(lambda: _Backend(*self.how).renew(self.leases))
        reset_after_fork(self.in_child)

    def record(self, transitions):
        self.leases += [RunLease(task_id=wish.task_id, run=wish.run or "", seconds=0) for wish in transitions]
        return super().record(transitions)


class _InChild:
    """Does something in a child."""

    def __init__(self, does):
        self.does = does

    def after_fork(self):
        self.does()


def _service():
    directory = tempfile.mkdtemp(prefix="drivetrain-mutant-")
    service = Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db?synchronous=normal")
    weakref.finalize(service, shutil.rmtree, directory, ignore_errors=True)
    return service


def _mutant(clause, name, kind):
    broker = clause.startswith("B")
    role, contract = ("SqliteBroker", broker_base.Impatient) if broker else ("SqliteBackend", backend_base.Impatient)
    return Mutant(
        name=name,
        clause=clause,
        contract=contract,
        service=_service,
        core=lambda patch: patch.setattr(sqlite, role, kind),
    )


MUTANTS = (
    _mutant("B46", "publishes under a lock of the process that nobody makes new in a child", LockedBroker),
    _mutant("B46", "gives back in a child what its parent holds", GivesBack),
    _mutant("B46", "settles in a child what its parent holds", Settles),
    _mutant("R39", "records under a lock of the process that nobody makes new in a child", LockedBackend),
    _mutant("R39", "removes its parent's values in a child", RemovesValues),
    _mutant("R39", "ends its parent's leases in a child", EndsLeases),
)
