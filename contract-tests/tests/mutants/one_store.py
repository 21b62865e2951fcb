"""Broken drivers of one store, built over the one of SQLite."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

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
        self._sent.update(wish.task_id for wish, _ in sends)
        super().record_and_publish(fresh)
        return [True] * len(sends)


class PublishesBeforeItRecords(SqliteBroker):
    def record_and_publish(self, sends):
        self.publish([message for _, message in sends])
        time.sleep(0.01)
        backend = SqliteBackend(self._options, self._clock)
        try:
            return [outcome.applied for outcome in backend.record([wish for wish, _ in sends])]
        finally:
            backend.close()

    def __init__(self, options, clock):
        super().__init__(options, clock)
        self._options = options


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
    )
]
