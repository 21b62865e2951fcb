"""Broken drivers of ``sqlite://``, which another process installs before it finds drivers by their URLs."""

from __future__ import annotations

import threading

from drivetrain.contract import ValueOutcome, evolve, takes_effect
from drivetrain.drivers import sqlite

__all__ = ["install"]


class WritesBehind(sqlite.SqliteBroker):
    def publish(self, messages):
        later = threading.Timer(60.0, super().publish, [messages])
        later.daemon = True  # it dies with its process
        later.start()


class AcknowledgesAtReceipt(sqlite.SqliteBroker):
    def receive(self, queues, **how):
        received = super().receive(queues, **how)
        super().acknowledge(received)
        return received


class HoldsForEver(sqlite.SqliteBroker):
    def receive(self, queues, *, hold_seconds, **how):
        return super().receive(queues, hold_seconds=3600.0, **how)


class LocksItsProcess(sqlite.SqliteBackend):
    """Compares versions under a lock of its process, and writes in a transaction of its own."""

    _comparing = threading.Lock()

    def write_values(self, writes):
        with self._comparing:
            return [self._write_one(write) for write in writes]

    def _write_one(self, write):
        (stored,) = self.read_values([write.key])
        if not takes_effect(write, stored):
            return ValueOutcome(written=False, current=stored)
        (outcome,) = super().write_values([evolve(write, if_version=None)])
        return outcome


def install(name):
    kind = globals()[name]
    setattr(sqlite, "SqliteBroker" if issubclass(kind, sqlite.SqliteBroker) else "SqliteBackend", kind)
