"""Clause W20: recording and publishing in one step, where broker and backend keep everything in one store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drivetrain.contract import Backend, Delivery, Message, RecordingBroker, State, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.base import Bench

__all__ = ["OneStore"]

_QUEUE = "one-store"
_HOLD_SECONDS = 60.0
_SENDS, _BATCH = 200, 10


class OneStore(Bench):
    """What a pair of one store does in one step."""

    @holds("W20")
    def test_what_is_granted_is_recorded_and_published_and_nothing_else(self) -> None:
        """A task that has begun is neither set back nor published again."""
        with self._one_store() as (broker, backend):
            assert list(broker.record_and_publish([])) == [], "an empty batch does something"
            backend.record([Transition(task_id="begun", state=State.STARTED, at=1.0, run="r", lease=_HOLD_SECONDS)])
            told = {"payload": b"due \x00\xff", "downstream": b"next \x00\xff"}
            sends = [_send("one", **told), _send("begun"), _send("two")]
            granted = list(broker.record_and_publish(sends))
            assert granted == [True, False, True], f"it was granted {granted}, and only `begun` has begun"
            bodies = [one.message for one in self._receive_all(broker, 2)]
            assert bodies == [sends[0][1], sends[2][1]], f"published were {bodies}"
            one, begun, two = backend.read(["one", "begun", "two"])
            states = [None if record is None else record.state for record in (one, begun, two)]
            assert states == [State.PENDING, State.STARTED, State.PENDING], f"recorded is {states}"
            kept = one and (one.task, one.payload, one.downstream)
            assert kept == ("task", told["payload"], told["downstream"]), f"recorded is {one}"

    @holds("W20")
    def test_it_may_be_repeated(self) -> None:
        """After a lost reply the same call again publishes again, and changes no record."""
        with self._one_store() as (broker, backend):
            for _ in range(2):
                assert list(broker.record_and_publish([_send("again")])) == [True]
            assert len(self._receive_all(broker, 2)) == 2
            (record,) = backend.read(["again"])
            assert record is not None, "its record is gone"
            assert record.state is State.PENDING, f"its record is {record}"

    @holds("W20")
    def test_nobody_gets_a_message_before_its_record(self) -> None:
        """A consumer beside the sender finds the record of each message that it is handed."""
        with self._one_store() as (broker, backend):
            missing: list[str] = []
            seen: set[str] = set()
            done = threading.Event()

            def consume() -> None:
                while len(seen) < _SENDS and not done.is_set():
                    taken = self._receive(broker, _BATCH)
                    ids = [delivery.message.id for delivery in taken]
                    records = backend.read(ids)
                    missing.extend(task_id for task_id, one in zip(ids, records, strict=True) if one is None)
                    seen.update(ids)

            consumer = threading.Thread(target=consume, daemon=True)
            consumer.start()
            for first in range(0, _SENDS, _BATCH):
                broker.record_and_publish([_send(f"task-{first + place}") for place in range(_BATCH)])
            consumer.join(self.patience_seconds)
            done.set()
            assert not missing, f"messages came before their records: {missing[:5]}"
            assert len(seen) == _SENDS, f"{_SENDS - len(seen)} of {_SENDS} messages were not published"

    @contextmanager
    def _one_store(self) -> Iterator[tuple[RecordingBroker, Backend]]:
        namespace = self.pair.broker.namespace()
        broker, backend = self.pair.broker.broker(namespace), self.pair.backend.backend(namespace)
        try:
            store = broker.capabilities.store
            if store is None or store != backend.capabilities.store:
                raise NotDeclared("broker and backend are not of one store")
            assert isinstance(broker, RecordingBroker), "it declares a store, and has no record_and_publish"
            yield broker, backend
        finally:
            broker.close()
            backend.close()

    def _receive(self, broker: RecordingBroker, limit: int) -> Sequence[Delivery]:
        return broker.receive([_QUEUE], limit=limit, wait_seconds=0.5, hold_seconds=_HOLD_SECONDS)

    def _receive_all(self, broker: RecordingBroker, number: int) -> list[Delivery]:
        """All that there is, which should be so many."""
        found: list[Delivery] = []
        while taken := self._receive(broker, number + 1):
            found += taken
        return found


def _send(task_id: str, *, payload: bytes | None = None, downstream: bytes | None = None) -> tuple[Transition, Message]:
    wish = Transition(task_id=task_id, state=State.PENDING, at=1.0, task="task", payload=payload, downstream=downstream)
    return wish, Message(id=task_id, queue=_QUEUE, body=task_id.encode(), headers={"a": "b"})
