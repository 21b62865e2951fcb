"""What all broken brokers are made with. Each is the in-memory one but for what it does wrong."""

from __future__ import annotations

from drivetrain.drivers.memory import shared_name
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain_contract_tests import BrokerContract, Service
from mutants.mutant import Mutant
from mutants.remote import Remote, RemoteBroker

__all__ = ["FOUND", "Impatient", "breaks", "entries", "hands_out", "local", "orders", "publishes"]

FOUND: list[Mutant] = []


class Impatient(BrokerContract):
    """The same checks: what does not come at once from this process never does."""

    patience_seconds = 1.0
    prompt_seconds = 0.2
    tries = 1


def local(kind):
    """The service of a broker in this process."""
    return Service(broker_maker=lambda url, context: kind(shared_name(url, context.namespace), context.clock))


def breaks(clause, name):
    """Mark a broken broker with what it does wrong."""

    def mark(kind):
        def service():
            return Remote(kind).service() if issubclass(kind, RemoteBroker) else local(kind)

        FOUND.append(Mutant(name=name, clause=clause, contract=Impatient, service=service))
        return kind

    return mark


def publishes(clause, name):
    """Mark a function that says what becomes of a message when it is published."""

    def mark(change):
        class Changing(MemoryBroker):
            def publish(self, messages):
                super().publish([changed for each in messages if (changed := change(each)) is not None])

        breaks(clause, name)(Changing)
        return change

    return mark


def hands_out(clause, name):
    """Mark a function that says what becomes of a delivery when it is handed out."""

    def mark(change):
        class Changing(MemoryBroker):
            def receive(self, queues, **how):
                return [change(each) for each in super().receive(queues, **how)]

        breaks(clause, name)(Changing)
        return change

    return mark


def orders(clause, name):
    """Mark a function that gives the key by which ready messages are delivered."""

    def mark(key):
        class Ordering(MemoryBroker):
            def _take(self, queues, limit, hold_seconds):
                for queue in self._store.known(queues, self._clock):
                    for entry in queue.ready.clear():
                        entry.heap = None
                        entry.move(queue.ready, key(entry))
                return super()._take(queues, limit, hold_seconds)

        breaks(clause, name)(Ordering)
        return key

    return mark


def entries(pile):
    return pile.smallest(len(pile))
