"""Broken drivers of one store, built over the one of SQLite."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from drivetrain.contract import ServiceRefused, ServiceUnavailable
from drivetrain.drivers.sqlite import SqliteBackend, SqliteBroker
from drivetrain.drivers.sqlite.options import Options
from drivetrain_contract_tests import Pair, Service
from mutants.mutant import Mutant
from mutants.workflow_base import Hasty

__all__ = ["MUTANTS"]


class ForgetsTheRecord(SqliteBroker):
    def record_and_publish(self, sends):
        self.publish([message for _, message in sends])
        return [True] * len(sends)


class PublishesWhatIsRefused(SqliteBroker):
    def record_and_publish(self, sends):
        granted = super().record_and_publish(sends)
        self.publish([message for (_, message), yes in zip(sends, granted, strict=True) if not yes])
        return granted


class PublishesOnlyTheFirst(SqliteBroker):
    def _add(self, session, messages, headers):
        super()._add(session, messages[:1], headers[:1])


class SaysYes(SqliteBroker):
    def record_and_publish(self, sends):
        return [True for _ in super().record_and_publish(sends)]


class PublishesOnce(SqliteBroker):
    """Takes a repeated call, whose first reply was lost, for done."""

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self._sent = set()

    def record_and_publish(self, sends):
        fresh = [send for send in sends if send[0].task_id not in self._sent]
        self._sent.update(transition.task_id for transition, _ in sends)
        super().record_and_publish(fresh)
        return [True] * len(sends)


class LocksInOrder(SqliteBroker):
    """Locks the row of each task in the order of the batch, as a database does, and gives up on a deadlock."""

    locks = defaultdict(threading.Lock)

    def record_and_publish(self, sends):
        with ExitStack() as stack:
            for transition, _ in sends:
                lock = self.locks[transition.task_id]
                if not lock.acquire(timeout=0.1):
                    raise ServiceRefused("deadlock detected")
                stack.callback(lock.release)
            return super().record_and_publish(sends)


class PublishesBeforeItRecords(SqliteBroker):
    def record_and_publish(self, sends):
        self.publish([message for _, message in sends])
        time.sleep(0.01)
        backend = SqliteBackend(self._options, self._clock)
        try:
            return [outcome.applied for outcome in backend.record([transition for transition, _ in sends])]
        finally:
            backend.close()

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self._options = options


class InTwoTransactions(SqliteBroker):
    """Records and publishes one after the other; the service may stop between the two."""

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self._options = options

    def _record(self, sends):
        backend = SqliteBackend(self._options, self._clock)
        try:
            return [outcome.applied for outcome in backend.record([transition for transition, _ in sends])]
        finally:
            backend.close()


class RecordsThenPublishes(InTwoTransactions):
    def record_and_publish(self, sends):
        self.host.reach()
        granted = self._record(sends)
        self.host.reach()
        self.publish([message for (_, message), yes in zip(sends, granted, strict=True) if yes])
        return granted


class PublishesThenRecords(InTwoTransactions):
    def record_and_publish(self, sends):
        self.host.reach()
        self.publish([message for _, message in sends])
        self.host.reach()
        return self._record(sends)


class InOne(SqliteBroker):
    """Does it right."""

    def record_and_publish(self, sends):
        self.host.reach()
        granted = super().record_and_publish(sends)
        self.host.reach()
        return granted


class Host:
    """A service of SQLite that can be stopped: then its broker does not record and publish."""

    def __init__(self, broker):
        self._up = True
        self._broker = broker
        self._directory = Path(tempfile.mkdtemp(prefix="one-store-"))

    def pair(self):
        service = Service(
            broker_maker=self._make_broker,
            backend_maker=lambda url, context: SqliteBackend(self._options(url), context.clock),
            stop=self.stop,
            start=self.start,
        )
        return Pair(service, service)

    def _make_broker(self, url, context):
        broker = self._broker(self._options(url), context.clock)
        broker.host = self
        return broker

    def _options(self, url):
        return Options.parse(f"sqlite:///{self._directory}/{url.partition('://')[2]}.db?synchronous=normal")

    def reach(self):
        if not self._up:
            raise ServiceUnavailable("the service is away")

    def stop(self):
        self._up = False

    def start(self):
        self._up = True


def pair(broker):
    directory = Path(tempfile.mkdtemp(prefix="one-store-"))

    def options(url):
        return Options.parse(f"sqlite:///{directory}/{url.partition('://')[2]}.db?synchronous=normal")

    return Pair(
        Service(broker_maker=lambda url, context: broker(options(url), context.clock)),
        Service(backend_maker=lambda url, context: SqliteBackend(options(url), context.clock)),
    )


MUTANTS = [
    Mutant(name=name, clause="W20", contract=Hasty, service=lambda kind=kind: pair(kind))
    for name, kind in (
        ("publishes and does not record", ForgetsTheRecord),
        ("publishes what is refused", PublishesWhatIsRefused),
        ("publishes only the first of a batch", PublishesOnlyTheFirst),
        ("says that all was granted", SaysYes),
        ("takes a repeated call for done", PublishesOnce),
        ("publishes before it records", PublishesBeforeItRecords),
        ("deadlocks when two send the same tasks in opposite orders", LocksInOrder),
    )
]
MUTANTS += [
    Mutant(
        name=name,
        clause="W20",
        contract=Hasty,
        service=lambda kind=kind: Host(kind).pair(),
        by="test_a_crash_leaves_a_record_and_its_message_or_neither",
    )
    for name, kind in (
        ("records, commits, and then publishes", RecordsThenPublishes),
        ("publishes, commits, and then records", PublishesThenRecords),
    )
]
