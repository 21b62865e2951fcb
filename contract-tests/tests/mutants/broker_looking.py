"""Brokers that break clauses B31 to B35, and B47."""

from __future__ import annotations

from drivetrain.contract import QueueSection, QueueSizes, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks


def measures(name, change):
    class Measuring(MemoryBroker):
        def sizes(self, queues):
            return change(super().sizes(queues))

    breaks("B31", name)(Measuring)


def each_size(change):
    return lambda told: {name: change(sizes) for name, sizes in told.items()}


measures("counts what is held as ready", each_size(lambda s: evolve(s, ready=s.ready + s.in_flight)))
measures("counts what is delayed as ready", each_size(lambda s: evolve(s, ready=s.ready + s.delayed, delayed=0)))
measures("tells no sizes of the dead", each_size(lambda s: evolve(s, dead=0)))
measures(
    "leaves out queues that were never used", lambda t: {k: v for k, v in t.items() if any((v.ready, v.in_flight))}
)
measures(
    "adds up all queues",
    lambda t: dict.fromkeys(t, QueueSizes(ready=sum(v.ready for v in t.values()), delayed=0, in_flight=0, dead=0)),
)


@breaks("B31", "notices what is due only when somebody receives")
class CountsWithoutLooking(MemoryBroker):
    def sizes(self, queues):
        return {name: self._store.queue(name).sizes() for name in queues}


def peeks(clause, name):
    def mark(peek):
        class Peeking(MemoryBroker):
            def peek(self, queue, place, *, limit):
                return peek(self, super(), queue, place, limit)

        breaks(clause, name)(Peeking)
        return peek

    return mark


@peeks("B32", "shows messages in the order in which they were published")
def in_order_of_ids(broker, correct, queue, place, limit):
    return sorted(correct.peek(queue, place, limit=1000), key=lambda each: each.id)[:limit]


@peeks("B32", "shows delayed messages as they lie")
def as_they_lie(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=1000)[::-1][:limit]


@peeks("B32", "shows all messages whatever the limit")
def all_of_them(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=1000)


@peeks("B32", "shows delayed messages among those that are ready")
def all_places(broker, correct, queue, place, limit):
    more = correct.peek(queue, QueueSection.DELAYED, limit=limit) if place is QueueSection.READY else []
    return [*correct.peek(queue, place, limit=limit), *more][:limit]


@peeks("B32", "shows one message where none was asked for")
def falsy_limit(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=limit or 1)


@peeks("B33", "looks at messages by receiving and releasing them")
def receives_and_releases(broker, correct, queue, place, limit):
    if place is QueueSection.READY:
        broker.release(correct.receive([queue], limit=limit, wait_seconds=0, hold_seconds=30))
    return correct.peek(queue, place, limit=limit)


@peeks("B33", "puts what it has looked at behind the rest")
def puts_behind(broker, correct, queue, place, limit):
    found = correct.peek(queue, place, limit=limit)
    if place is QueueSection.READY:
        with broker._store.condition:
            known = broker._store.queue(queue)
            for entry in known.ready.smallest(limit):
                known.add_ready(entry)
    return found


@peeks("B33", "holds for a while what it shows")
def holds_what_it_shows(broker, correct, queue, place, limit):
    found = correct.peek(queue, place, limit=limit)
    if place is QueueSection.READY:
        correct.receive([queue], limit=limit, wait_seconds=0, hold_seconds=30)
    return found


@breaks("B33", "counts by taking everything out and putting it back")
class CountsByTaking(MemoryBroker):
    def sizes(self, queues):
        told = super().sizes(queues)
        for name in queues:
            self.release(super().receive([name], limit=1000, wait_seconds=0, hold_seconds=30))
        return told


def purges(name):
    def mark(purge):
        class Purging(MemoryBroker):
            def purge(self, queue, place):
                return purge(self, super(), queue, place)

        breaks("B34", name)(Purging)
        return purge

    return mark


@purges("purges queues whose name begins alike")
def by_prefix(broker, correct, queue, place):
    return [correct.purge(name, place) for name in reversed(broker.queues()) if name.startswith(queue)][-1:] or 0


@purges("purges held messages too")
def held_too(broker, correct, queue, place):
    known = broker._store.queue(queue)
    known.drop(known.in_flight)
    return correct.purge(queue, place)


@purges("does not tell how many it has purged")
def tells_nothing(broker, correct, queue, place):
    correct.purge(queue, place)
    return 0


@purges("purges ready and delayed messages together")
def both_places(broker, correct, queue, place):
    if place is QueueSection.READY:
        correct.purge(queue, QueueSection.DELAYED)
    return correct.purge(queue, place)


@purges("cannot purge delayed messages")
def not_delayed(broker, correct, queue, place):
    return len(correct.peek(queue, place, limit=1000)) if place is QueueSection.DELAYED else correct.purge(queue, place)


class _MovesTheMessageItself(MemoryBroker):
    """Moves the message that the consumer has, where the service has none any more."""

    def purged(self, deliveries):
        sizes = self.sizes([one.message.queue for one in deliveries])
        empty = {name for name, one in sizes.items() if not any((one.ready, one.delayed, one.held, one.dead))}
        return [one for one in deliveries if one.message.queue in empty]


@breaks("B34", "releases a message that was purged")
class ReleasesWhatWasPurged(_MovesTheMessageItself):
    def release(self, deliveries, *, delay_seconds=0.0):
        purged = self.purged(deliveries)
        super().release(deliveries, delay_seconds=delay_seconds)
        self.publish([one.message for one in purged])


@breaks("B34", "keeps a message that was purged as a dead letter")
class BuriesWhatWasPurged(_MovesTheMessageItself):
    def dead_letter(self, letters):
        purged = self.purged([delivery for delivery, _ in letters])
        super().dead_letter(letters)
        self.publish([one.message for one in purged])
        for one in purged:
            taken = self.receive([one.message.queue], limit=1, wait_seconds=0, hold_seconds=30)
            super().dead_letter([(delivery, "") for delivery in taken])


@breaks("B35", "names queues as they were first used")
class ListsUnsorted(MemoryBroker):
    def queues(self):
        return list(self._store.queues)


@breaks("B35", "forgets queues that are empty")
class ForgetsEmpty(MemoryBroker):
    def queues(self):
        return [
            name for name in super().queues() if any((self.sizes([name])[name].ready, self.sizes([name])[name].delayed))
        ]


@breaks("B35", "names only queues that were received from")
class ListsConsumed(MemoryBroker):
    def receive(self, queues, **how):
        self.__dict__.setdefault("seen", set()).update(queues)
        return super().receive(queues, **how)

    def queues(self):
        return sorted(self.__dict__.get("seen", set()))


def dates(name, entries):
    """A broker that takes the age from ``entries(queue)``."""

    class Dating(MemoryBroker):
        def sizes(self, queues):
            told, now = super().sizes(queues), self._clock.now()
            with self._store.condition:
                found = {queue: [now - one.since for one in entries(self._store.queue(queue))] for queue in queues}
            return {name: evolve(sizes, oldest_seconds=max(found[name], default=0.0)) for name, sizes in told.items()}

    breaks("B47", name)(Dating)


dates("takes the newest message for the oldest", lambda q: sorted(q.ready.values(), key=lambda one: -one.since)[:1])
dates("takes the next message for the oldest", lambda q: q.ready.smallest(1))
dates("dates messages in flight too", lambda q: [*q.ready.values(), *q.in_flight.values()])


@breaks("B47", "dates dead letters too")
class DatesDeadLetters(MemoryBroker):
    def sizes(self, queues):
        told, now = super().sizes(queues), self._clock.now()
        with self._store.condition:
            died = {name: [now - letter.at for letter in self._store.queue(name).dead] for name in queues}
        return {
            name: evolve(sizes, oldest_seconds=max([sizes.oldest_seconds, *died[name]])) for name, sizes in told.items()
        }


@breaks("B47", "goes on with the old age after a replay")
class RemembersAgeOfReplayed(MemoryBroker):
    def dead_letter(self, deliveries, /):
        self.__dict__.setdefault("since", {}).update({one.message.id: self._since(one) for one, _ in deliveries})
        super().dead_letter(deliveries)

    def _since(self, delivery):
        with self._store.condition:
            entries = self._store.queue(delivery.message.queue).in_flight.values()
            return next((one.since for one in entries if one.message.id == delivery.message.id), self._clock.now())

    def replay(self, queue, message_ids=None):
        number = super().replay(queue, message_ids)
        with self._store.condition:
            for entry in self._store.queue(queue).ready.values():
                entry.since = self.__dict__.get("since", {}).get(entry.message.id, entry.since)
        return number


@breaks("B47", "dates an ETA in the past")
class DatesThePast(MemoryBroker):
    def _add(self, message, now):
        super()._add(message, now if message.eta is None else min(now, message.eta))


@breaks("B47", "begins a new age with a release")
class RejuvenatesReleased(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=delay_seconds)
        with self._store.condition:
            for delivery in deliveries:
                for entry in self._store.queue(delivery.message.queue).ready.values():
                    if entry.message is delivery.message:
                        entry.since = self._clock.now()


@breaks("B47", "declares ages and knows none")
class KnowsNoAge(MemoryBroker):
    def sizes(self, queues):
        return {name: evolve(sizes, oldest_seconds=None) for name, sizes in super().sizes(queues).items()}


@breaks("B47", "dates a delayed message from when it was published")
class DatesFromPublishing(MemoryBroker):
    def _add(self, message, now):
        super()._add(message, now)
        queue = self._store.queue(message.queue)
        for entry in queue.delayed.values():
            entry.since = min(entry.since, now)
