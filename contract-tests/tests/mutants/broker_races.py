"""Brokers that look first and act afterwards: right, but when two are inside at once."""

from __future__ import annotations

import threading

from drivetrain.contract import QueueSection, ServiceRefused, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks


@breaks("B7", "looks which message is ready before it takes it")
class LooksBeforeItTakes(MemoryBroker):
    """Two that look at once see the same one."""

    def receive(self, queues, *, limit, wait_seconds, hold_seconds):
        found = self._racing(queues, limit, hold_seconds)
        return found or super().receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)

    def _racing(self, queues, limit, hold_seconds):
        taken = []
        with self._store.condition:
            known = self._store.known(queues, self._clock)
            seen = [(queue, entry) for queue in known for entry in queue.ready.smallest(limit)][:limit]
        for queue, entry in seen:
            with self._store.condition:
                if entry.receipt not in queue.open or entry.heap is queue.ready:
                    taken += self._give(queue, entry, hold_seconds)
                else:
                    taken += [evolve(entry.deliver(), receipt=-entry.receipt)]
        return taken

    def _give(self, queue, entry, hold_seconds):
        queue.open.pop(entry.receipt, None)
        entry.deliveries += 1
        entry.receipt = next(queue.numbers)
        queue.open[entry.receipt] = entry
        queue.hold(entry, self._clock.monotonic() + hold_seconds)
        return [entry.deliver()]


@breaks("B37", "gathers what threads publish in one list")
class SharedBuffer(MemoryBroker):
    def publish(self, messages):
        buffer = self.__dict__.setdefault("buffer", [])
        buffer += messages
        super().publish(list(buffer))
        buffer.clear()


@breaks("B37", "lets threads write over each other's messages")
class SharedSlot(MemoryBroker):
    def publish(self, messages):
        for each in messages:
            self.slot = each
            super().publish([self.slot])


@breaks("B37", "fails when two threads are inside")
class OneAtATime(MemoryBroker):
    busy = False

    def acknowledge(self, deliveries):
        if self.busy:
            raise ServiceRefused("another command is already being processed")
        self.busy = True
        try:
            super().acknowledge(deliveries)
        finally:
            self.busy = False


@breaks("B37", "mixes up the answers of threads")
class SharedAnswer(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        answers = self.__dict__.setdefault("answers", [])
        answers.clear()
        answers.extend(super().extend(deliveries, hold_seconds=hold_seconds))
        return list(answers)


class Locking(MemoryBroker):
    """Locks each message of a batch in the order of the batch, as a database does, and gives up on a deadlock."""

    def locked(self, deliveries, act):
        taken = []
        try:
            for each in deliveries:
                lock = _LOCKS.setdefault((id(self._store), each.receipt), threading.Lock())
                if not lock.acquire(timeout=0.1):
                    raise ServiceRefused("deadlock detected")
                taken.append(lock)
            return act()
        finally:
            for lock in taken:
                lock.release()


_LOCKS: dict[tuple[int, int], threading.Lock] = {}


@breaks("B37", "deadlocks when two extend the same messages in opposite orders")
class ExtendsLocked(Locking):
    def extend(self, deliveries, *, hold_seconds):
        return self.locked(deliveries, lambda: MemoryBroker.extend(self, deliveries, hold_seconds=hold_seconds))


@breaks("B37", "deadlocks when two acknowledge the same messages in opposite orders")
class AcknowledgesLocked(Locking):
    def acknowledge(self, deliveries):
        return self.locked(deliveries, lambda: MemoryBroker.acknowledge(self, deliveries))


@breaks("B37", "deadlocks when two release the same messages in opposite orders")
class ReleasesLocked(Locking):
    def release(self, deliveries, *, delay_seconds=0.0):
        self.locked(deliveries, lambda: MemoryBroker.release(self, deliveries, delay_seconds=delay_seconds))


@breaks("B37", "deadlocks when two dead-letter the same messages in opposite orders")
class DeadLettersLocked(Locking):
    def dead_letter(self, letters):
        self.locked([delivery for delivery, _ in letters], lambda: MemoryBroker.dead_letter(self, letters))


@breaks("B20", "looks whether a message is held before it releases it")
class LooksBeforeItReleases(MemoryBroker):
    def release(self, deliveries, **how):
        held = [each for each in deliveries if each.receipt in self._store.queue(each.message.queue).open]
        self.acknowledge(held)
        self.publish([evolve(each.message, eta=None) for each in held])


@breaks("B20", "looks whether a message is held before it dead-letters it")
class LooksBeforeItBuries(MemoryBroker):
    def dead_letter(self, letters):
        held = [pair for pair in letters if pair[0].receipt in self._store.queue(pair[0].message.queue).open]
        for delivery, reason in held:
            self.acknowledge([delivery])
            self.publish([evolve(delivery.message, queue=_ASIDE)])
            with self._store.condition:
                for each in self._take([_ASIDE], 1, 60.0):
                    self._bury(each, delivery.message, reason)

    def _bury(self, aside, message, reason):
        super().dead_letter([(aside, reason)])
        letters = self._store.queue(_ASIDE).dead
        self._store.queue(message.queue).dead.append(evolve(letters.pop(), message=message))


#: Where a message lies for a moment on its way to the dead.
_ASIDE = "aside"


@breaks("B30", "looks at the dead before it replays them")
class LooksBeforeItReplays(MemoryBroker):
    def replay(self, queue, message_ids=None):
        dead = self.peek(queue, QueueSection.DEAD, limit=10**6)
        chosen = [each for each in dead if message_ids is None or each.id in message_ids]
        self.publish([evolve(each, eta=None, headers={}) for each in chosen])
        self.drop_dead_letters(queue, [each.id for each in chosen])
        return len(chosen)


@breaks("B34", "counts before it purges")
class CountsBeforeItPurges(MemoryBroker):
    def purge(self, queue, place):
        told = len(self.peek(queue, place, limit=10**6))
        super().purge(queue, place)
        return told


@breaks("B7", "makes what is due ready twice when two look at once")
class RipensTwice(MemoryBroker):
    def receive(self, queues, **how):
        due = [entry for queue in self._known(queues) for entry in queue.delayed.smallest(10**6) if self._is_due(entry)]
        with self._store.condition:
            for entry in due:
                if entry.heap is not None:
                    entry.take()
                    entry.heap = None
        self.publish([evolve(entry.message, eta=None) for entry in due])
        return super().receive(queues, **how)

    def _known(self, queues):
        return [self._store.queues[name] for name in queues if name in self._store.queues]

    def _is_due(self, entry):
        return entry.key[0] <= self._clock.now()
