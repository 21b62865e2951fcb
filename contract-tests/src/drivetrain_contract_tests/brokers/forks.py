"""Clause B46."""

from __future__ import annotations

import threading
from collections.abc import Callable

from drivetrain.contract import Broker
from drivetrain_contract_tests.brokers.background import Background
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.forking import in_child

__all__ = ["Forks"]


class Forks(Bench):
    """Processes that fork."""

    @holds("B46")
    def test_a_child_uses_a_broker_of_its_own(self) -> None:
        """In a child, a new broker works: whether its parent has used one before the fork, was closed, or neither."""
        for use in (lambda _: None, lambda broker: broker.ping(), _use_and_close):
            namespace = self.service.namespace()
            broker = self.on(namespace)
            use(broker)
            self._in_child(self._using(namespace, "child"))
            self._use(broker, "parent")

    @holds("B46")
    def test_a_fork_disturbs_no_thread(self) -> None:
        """A child's own broker works, and its parent's too, whatever other threads do at the time of the fork.

        A lock that another thread holds at the fork is never released in the child; and a connection that both use
        mixes up their answers.
        """
        namespace = self.service.namespace()
        broker, over = self.on(namespace), threading.Event()
        sending = Background(lambda: self._publish_until(broker, over))
        receiving = Background(lambda: self._receive_until(broker, sending.ended))
        try:
            for number in range(self.profile.races):
                self._in_child(self._using(namespace, f"child {number}"))
        finally:
            over.set()
        sent = sending.result()
        received = receiving.result()
        assert sorted(received) == sorted(sent), (
            f"of {len(sent)} messages, {len(received)} came, {len(set(received))} different ones"
        )
        self._use(broker, "parent")

    @holds("B46")
    def test_a_child_that_ends_takes_nothing_with_it(self) -> None:
        """What a child publishes is there when it has ended, and what its parent holds stays the parent's."""
        namespace = self.service.namespace()
        broker = self.on(namespace)
        broker.publish([message("parent")])
        taken = self.take(broker)
        self._in_child(lambda: self._publish(namespace, "child"))
        assert broker.extend(taken, hold_seconds=self.hold_seconds) == [True]
        broker.acknowledge(taken)
        if self.capabilities.shared:
            assert ids(self.take(broker)) == ["child"]
        self.none_comes(broker, seconds=0.0)

    def _in_child(self, call: Callable[[], object]) -> None:
        _ = self.capabilities  # while this is found out, Python 3.11 holds a lock, which a child would wait for
        in_child(call)

    def _using(self, namespace: str, name: str) -> Callable[[], None]:
        return lambda: self._use(self.service.broker(namespace), name)

    def _use(self, broker: Broker, name: str) -> None:
        """Publish to a queue that nobody else uses, and receive from it."""
        broker.publish([message(name, queue=name)])
        taken = self.take(broker, name)
        assert ids(taken) == [name]
        assert broker.extend(taken, hold_seconds=self.hold_seconds) == [True]
        broker.acknowledge(taken)

    def _publish(self, namespace: str, name: str) -> None:
        self.service.broker(namespace).publish([message(name)])

    def _publish_until(self, broker: Broker, over: threading.Event) -> list[str]:
        sent: list[str] = []
        while not over.is_set():
            sent.append(f"m{len(sent)}")
            broker.publish([message(sent[-1])])
        return sent

    def _receive_until(self, broker: Broker, ended: Callable[[], bool]) -> list[str]:
        received: list[str] = []
        while True:
            last = ended()
            taken = broker.receive(["q"], limit=10, wait_seconds=self.quiet_seconds, hold_seconds=self.hold_seconds)
            broker.acknowledge(taken)
            received += ids(taken)
            if last and not taken:
                return received


def _use_and_close(broker: Broker) -> None:
    broker.ping()
    broker.close()
