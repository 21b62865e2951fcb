"""``sqlite://``, broken in this process: what a process that finds drivers by their URL is told to run first."""

from __future__ import annotations

import threading

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


def install(name):
    sqlite.SqliteBroker = globals()[name]
