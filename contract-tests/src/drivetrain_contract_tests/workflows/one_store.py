"""Clause W20: recording and publishing in one step, where broker and backend keep everything in one store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from drivetrain.contract import Backend, Delivery, Message, RecordingBroker, ServiceError, State, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["OneStoreChecks"]

_QUEUE = "one-store"
_HOLD_SECONDS = 60.0
_SENDS, _BATCH = 200, 10
#: How often each of several threads sends the same tasks.
_TIMES = 10
#: How many threads send while the service is stopped, how many tasks by each call; and after how many calls it stops.
_SENDERS, _SENT_AT_ONCE, _ANSWERED = 3, 3, 30


class OneStoreChecks(WorkflowBase):
    """What a pair of one store does in one step."""

    @holds("W20")
    def test_what_is_granted_is_recorded_and_published_and_nothing_else(self) -> None:
        """A task that has begun is neither set back nor published again."""
        with self._one_store() as (broker, backend):
            assert list(broker.record_and_publish([])) == [], "an empty batch does something"
            backend.record([Transition(task_id="begun", state=State.STARTED, at=1.0, run="r", lease=_HOLD_SECONDS)])
            values = {"payload": b"due \x00\xff", "downstream": b"next \x00\xff"}
            sends = [_send("one", **values), _send("begun"), _send("two")]
            granted = list(broker.record_and_publish(sends))
            assert granted == [True, False, True], f"it was granted {granted}, and only `begun` has begun"
            bodies = [one.message for one in self._receive_all(broker, 2)]
            assert bodies == [sends[0][1], sends[2][1]], f"published were {bodies}"
            one, begun, two = backend.read(["one", "begun", "two"])
            states = [None if record is None else record.state for record in (one, begun, two)]
            assert states == [State.PENDING, State.STARTED, State.PENDING], f"recorded is {states}"
            recorded = one and (one.task, one.payload, one.downstream)
            assert recorded == ("task", values["payload"], values["downstream"]), f"recorded is {one}"

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

    @holds("W20")
    def test_batches_in_opposite_orders_all_succeed(self) -> None:
        """Threads send the same tasks, some from the first to the last, some from the last: no call fails."""
        with self._one_store() as (broker, backend):
            sends = [_send(f"task-{number}") for number in range(_BATCH)]
            calls = [partial(_send_often, broker, order) for order in (sends, sends[::-1]) * (_SENDERS - 1)]
            with ThreadPoolExecutor(len(calls)) as threads:
                granted = [each for call in [threads.submit(call) for call in calls] for each in call.result()]
            assert granted == [True] * len(granted), "a task that waits was refused"
            assert len(self._receive_all(broker, len(granted))) == len(granted), "not all that was granted is published"
            records = backend.read([transition.task_id for transition, _ in sends])
            assert None not in records, f"not all that was granted is recorded: {records}"

    @holds("W20", restarts=True)
    def test_a_crash_leaves_a_record_and_its_message_or_neither(self) -> None:
        """Each task that was sent while the service was stopped has a record and a message, or neither of both.

        Two transactions, one after the other, leave one of both when the service stops between them.
        """
        for _ in range(self.profile.crashes):
            with self._one_store() as (broker, backend):
                sent = self._send_until_stopped(broker)
                for driver in (broker, backend):
                    until(partial(_works, driver), "the service works again", self.patience_seconds)
                published = {one.message.id for one in self._receive_all(broker, _SENDS)}
                records = backend.read(sent)
                recorded = {task_id for task_id, found in zip(sent, records, strict=True) if found is not None}
                missing, orphans = recorded - published, published - recorded
                assert not missing, f"after a crash {len(missing)} of {len(sent)} tasks have a record and no message"
                assert not orphans, f"after a crash {len(orphans)} of {len(sent)} tasks have a message and no record"

    def _send_until_stopped(self, broker: RecordingBroker) -> list[str]:
        """Send from several threads, stop the service meanwhile and start it again; the ids that were sent."""
        answered = threading.Semaphore(0)

        def send(sender: int) -> list[str]:
            ids: list[str] = []
            while True:
                batch = [f"{sender}-{len(ids) + number}" for number in range(_SENT_AT_ONCE)]
                ids += batch
                try:
                    broker.record_and_publish([_send(task_id) for task_id in batch])
                except ServiceError:
                    return ids
                answered.release()

        with ThreadPoolExecutor(_SENDERS) as threads:
            sending = [threads.submit(send, sender) for sender in range(_SENDERS)]
            try:
                for _ in range(_ANSWERED):
                    assert answered.acquire(timeout=self.patience_seconds), "sending has not been answered"
            finally:
                self.pair.stop()  # ends the threads too
            sent = [task_id for each in sending for task_id in each.result()]
        self.pair.start()
        return sent

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
        """All messages; there should be ``number`` of them."""
        found: list[Delivery] = []
        while taken := self._receive(broker, number + 1):
            found += taken
        return found


def _send_often(broker: RecordingBroker, sends: Sequence[tuple[Transition, Message]]) -> list[bool]:
    return [granted for _ in range(_TIMES) for granted in broker.record_and_publish(sends)]


def _works(driver: Backend | RecordingBroker) -> bool:
    try:
        driver.ping()
    except ServiceError:
        return False
    return True


def _send(task_id: str, *, payload: bytes | None = None, downstream: bytes | None = None) -> tuple[Transition, Message]:
    transition = Transition(
        task_id=task_id, state=State.PENDING, at=1.0, task="task", payload=payload, downstream=downstream
    )
    return transition, Message(id=task_id, queue=_QUEUE, body=task_id.encode(), headers={"a": "b"})
