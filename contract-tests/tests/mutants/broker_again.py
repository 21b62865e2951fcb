"""Brokers that are right the first time, and wrong the second or the hundredth."""

from __future__ import annotations

from drivetrain.contract import QueueSection, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, hands_out


def counted(name, change):
    hands_out("B14", name)(lambda delivery: evolve(delivery, delivery_count=change(delivery.delivery_count)))


counted("counts deliveries up to ten", lambda count: min(count, 10))
counted("counts deliveries in eight bits", lambda count: (count + 128) % 256 - 128)
counted("counts deliveries up to a hundred", lambda count: min(count, 100))


class Renewing(MemoryBroker):
    """Gives messages back by publishing them again, changed."""

    def renew(self, deliveries, change):
        with self._store.condition:
            for each in deliveries:
                entry = self._store.queue(each.message.queue).open.get(each.receipt)
                if entry is not None:
                    entry.message = change(entry.message)


def lowest(message):
    return evolve(message, priority=0)


@breaks("B9", "forgets the priority of what is released")
class ReleasesLow(Renewing):
    def release(self, deliveries, *, delay_seconds=0.0):
        self.renew(deliveries if not delay_seconds else [], lowest)
        super().release(deliveries, delay_seconds=delay_seconds)


@breaks("B9", "forgets the priority of what is released with a delay")
class DelaysLow(Renewing):
    def release(self, deliveries, *, delay_seconds=0.0):
        self.renew(deliveries if delay_seconds else [], lowest)
        super().release(deliveries, delay_seconds=delay_seconds)


@breaks("B9", "replays with the lowest priority")
class ReplaysLow(MemoryBroker):
    def replay(self, queue, message_ids=None):
        with self._store.condition:
            for letter in self._store.queue(queue).dead:
                object.__setattr__(letter, "message", lowest(letter.message))
        return super().replay(queue, message_ids)


@breaks("B9", "gives what its consumer lost back with the lowest priority")
class LostLow(MemoryBroker):
    def _take(self, queues, limit, hold_seconds):
        for queue in self._store.known(queues, self._clock):
            for entry in queue.ready.smallest(len(queue.ready)):
                if entry.receipt in queue.open:
                    entry.move(queue.ready, (0, entry.turn))
        return super()._take(queues, limit, hold_seconds)


@breaks("B28", "gives all letters of a batch the reason of the first")
class FirstReason(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter([(each, letters[0][1]) for each, _ in letters])


@breaks("B5", "keeps the body that an id had first")
class FirstBody(MemoryBroker):
    def publish(self, messages):
        bodies = self.__dict__.setdefault("bodies", {})
        super().publish([evolve(m, body=bodies.setdefault(m.id, m.body)) for m in messages])


@breaks("B5", "keeps the headers that an id had first")
class FirstHeaders(MemoryBroker):
    def publish(self, messages):
        known = self.__dict__.setdefault("known", {})
        super().publish([evolve(m, headers=known.setdefault(m.id, m.headers)) for m in messages])


@breaks("B5", "keeps one message of each id in a batch")
class OnePerId(MemoryBroker):
    def publish(self, messages):
        super().publish(list({(each.queue, each.id): each for each in messages}.values()))


@breaks("B18", "drops a message that was handed out ten times")
class DropsAtTen(MemoryBroker):
    def release(self, deliveries, **how):
        super().acknowledge([each for each in deliveries if each.delivery_count >= 10])
        super().release(deliveries, **how)


@breaks("B18", "dead-letters a message that was handed out five times")
class BuriesAtFive(MemoryBroker):
    def release(self, deliveries, **how):
        super().dead_letter([(each, "too often") for each in deliveries if each.delivery_count >= 5])
        super().release(deliveries, **how)


@breaks("B16", "drops a message whose hold has ended twice")
class DropsLostTwice(MemoryBroker):
    def _take(self, queues, limit, hold_seconds):
        for queue in self._store.known(queues, self._clock):
            for entry in queue.ready.smallest(len(queue.ready)):
                if entry.receipt in queue.open and entry.deliveries >= 2:
                    queue.open.pop(entry.receipt)
                    entry.take()
        return super()._take(queues, limit, hold_seconds)


@breaks("B17", "extends a hold once")
class ExtendsOnce(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        seen = self.__dict__.setdefault("seen", set())
        new = [each for each in deliveries if each.receipt not in seen]
        seen.update(each.receipt for each in new)
        super().extend(new, hold_seconds=hold_seconds)
        return [each.receipt in self._store.queue(each.message.queue).open for each in deliveries]


@breaks("B33", "shows each message once")
class ShowsOnce(MemoryBroker):
    def peek(self, queue, place, *, limit):
        shown = self.__dict__.setdefault("shown", set())
        found = [each for each in super().peek(queue, place, limit=limit) if (each.id, place) not in shown]
        shown.update((each.id, place) for each in found)
        return found


@breaks("B34", "purges a queue once")
class PurgesOnce(MemoryBroker):
    def purge(self, queue, place):
        done = self.__dict__.setdefault("done", set())
        if (queue, place) in done:
            return 0
        done.add((queue, place))
        return super().purge(queue, place)


@breaks("B30", "cannot replay what was replayed before")
class ReplaysOnce(MemoryBroker):
    def replay(self, queue, message_ids=None):
        seen = self.__dict__.setdefault("seen", set())
        dead = [each.id for each in self.peek(queue, QueueSection.DEAD, limit=10**6)]
        new = [each for each in (dead if message_ids is None else message_ids) if each not in seen]
        seen.update(new)
        return super().replay(queue, new)


@breaks("B28", "changes the reason of what was handed out before")
class KeepsMarks(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter([(each, reason if not each.redelivered else f"{reason} again") for each, reason in letters])


@breaks("B13", "says once that a message was handed out before")
class SaysOnce(MemoryBroker):
    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        return [evolve(each, redelivered=each.redelivered and each.delivery_count < 4) for each in found]
