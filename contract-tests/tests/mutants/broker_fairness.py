"""Brokers that break clauses B48 and B49: lines that starve, have debts, or are seen as queues."""

from __future__ import annotations

from drivetrain.contract import FAIR_KEY_HEADER, QueueSection, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain.drivers.memory.fair_rounds import FairRounds
from mutants.broker_base import breaks, publishes


def assigns(name, rounds):
    """Mark a class of rounds that a broker uses."""

    class Assigning(MemoryBroker):
        def publish(self, messages):
            self._use()
            super().publish(messages)

        def receive(self, queues, **how):
            self._use()
            return super().receive(queues, **how)

        def _use(self):
            for queue in self._store.queues.values():
                if type(queue.rounds) is FairRounds:
                    queue.rounds = rounds()

    breaks("B48", name)(Assigning)


class Forgetful(FairRounds):
    def enter(self, priority, key):
        self._last.clear()
        return super().enter(priority, key)


class Resentful(FairRounds):
    def deliver(self, priority, number):
        """The rounds of an idle key begin at the first one; and those of a busy one are never over."""

    def enter(self, priority, key):
        number = super().enter(priority, key)
        self._last[priority, key] = number + 10
        return number


class Late(FairRounds):
    def enter(self, priority, key):
        new = (priority, key) not in self._last
        number = super().enter(priority, key)
        if new and len(self._last) > 1:
            self._last[priority, key] = number = max(self._last.values()) + 1
        return number


class KeysOnly(FairRounds):
    def enter(self, priority, key):
        return 0 if key is None else super().enter(priority, key)


assigns("delivers in the order of arrival", Forgetful)
assigns("makes a key pay for what it had before", Resentful)
assigns("puts a new key behind all others", Late)
assigns("lets messages without a key overtake all keys", KeysOnly)


@breaks("B48", "gives the keys of delayed messages no turns")
class DelayedOutOfTurn(MemoryBroker):
    def publish(self, messages):
        super().publish([each if each.eta is None else evolve(each, headers={"was": "fair"}) for each in messages])


@breaks("B48", "has the same turns for all priorities")
class OneLineOfRounds(MemoryBroker):
    def _add(self, message, now):
        super()._add(evolve(message, priority=0), now)


@breaks("B49", "lists a line as a queue")
class ListsLines(MemoryBroker):
    def queues(self):
        keys = {
            entry.message.headers[FAIR_KEY_HEADER]
            for queue in self._store.queues.values()
            for entry in queue.ready.values()
            if FAIR_KEY_HEADER in entry.message.headers
        }
        return sorted({*super().queues(), *(f"q/fair/{key}" for key in keys)})


@breaks("B49", "purges messages without a key only")
class PurgesPlain(MemoryBroker):
    def purge(self, queue, section):
        if section is not QueueSection.READY:
            return super().purge(queue, section)
        kept = [each for each in self.peek(queue, section, limit=1000) if FAIR_KEY_HEADER in each.headers]
        dropped = super().purge(queue, section)
        self.publish(kept)
        return dropped - len(kept)


@publishes("B49", "drops the key of a message")
def drops_key(message):
    return evolve(message, headers={name: text for name, text in message.headers.items() if name != FAIR_KEY_HEADER})


@breaks("B49", "puts released messages at the end of their lines")
class ReleasedLast(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        if delay_seconds:
            return super().release(deliveries, delay_seconds=delay_seconds)
        self.acknowledge(deliveries)
        return self.publish([each.message for each in deliveries])


@breaks("B49", "puts messages whose hold has ended at the end of their lines")
class LapsedLast(MemoryBroker):
    def receive(self, queues, **how):
        self._put_last(queues)
        return super().receive(queues, **how)

    def sizes(self, queues):
        self._put_last(queues)
        return super().sizes(queues)

    def _put_last(self, queues):
        with self._store.condition:
            for name in queues:
                if (queue := self._store.queues.get(name)) is not None:
                    for entry in queue.in_flight.pop_until(self._clock.monotonic()):
                        queue.add_ready(entry)
