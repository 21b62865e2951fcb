"""Brokers that break B40 and B44: messages that a crash finds on their way from one place to another are lost."""

from __future__ import annotations

import time
from weakref import WeakKeyDictionary

from drivetrain.contract import evolve
from drivetrain.drivers.memory.broker import _DeadLetter
from mutants.broker_base import breaks, entries
from mutants.remote import RemoteBroker

#: How long a message is on its way, in seconds.
_STEP_SECONDS = 0.002
#: How long it takes until what was only told is written.
_UNSAFE_SECONDS = 0.05


def recovers(clause, name):
    """Mark a function that says what becomes of a queue when the service is started again."""

    def mark(lose):
        class Recovering(RemoteBroker):
            @staticmethod
            def recover(store):
                for queue in store.queues.values():
                    lose(queue)

        breaks(clause, name)(Recovering)
        return lose

    return mark


# B40: what falls due


def drop(found, unwanted):
    """Drop the entries of a section that are unwanted."""
    for entry in entries(found):
        if unwanted(entry):
            entry.take()
            entry.heap = None


@recovers("B40", "loses what falls due while the service is away")
def loses_what_fell_due(queue):
    drop(queue.delayed, lambda entry: entry.key[0] <= time.time())


@recovers("B40", "keeps in memory what has fallen due and was not received yet")
def loses_what_was_delayed(queue):
    drop(queue.ready, lambda entry: entry.message.eta is not None)
    drop(queue.delayed, lambda entry: entry.key[0] <= time.time())


@recovers("B40", "loses what was about to fall due when the service died")
def loses_what_was_nearly_due(queue):
    drop(queue.delayed, lambda entry: abs(entry.key[0] - time.time()) <= 1.0)


@recovers("B40", "loses what fell due while the service was away, and was released with a delay")
def loses_what_was_released(queue):
    drop(queue.delayed, lambda entry: entry.deliveries > 0 and entry.key[0] <= time.time())


@breaks("B40", "has not written what was published last when it says so")
class WritesLater(RemoteBroker):
    published = WeakKeyDictionary()

    def publish(self, messages):
        super().publish(messages)
        told = self.published.setdefault(self._store, {})
        told.update((each.id, time.monotonic()) for each in messages)

    @classmethod
    def recover(cls, store):
        last = max(cls.published.get(store, {}).values(), default=0.0)
        unsafe = {name for name, at in cls.published.pop(store, {}).items() if at >= last - _UNSAFE_SECONDS}
        for queue in store.queues.values():
            for section in (queue.ready, queue.delayed):
                drop(section, lambda entry: entry.message.id in unsafe)


# B44: what is on its way from place to place


def pause():
    """Let the service die between two steps."""
    time.sleep(_STEP_SECONDS)


@breaks("B44", "acknowledges what it releases with a delay before it publishes it again")
class ReleasesInTwoSteps(RemoteBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        if not delay_seconds:
            super().release(deliveries)
            return
        held = [each for each in deliveries if self.extend([each], hold_seconds=60.0)[0]]
        self.acknowledge(held)
        for each in held:
            pause()
            self.publish([evolve(each.message, eta=time.time() + delay_seconds)])


@breaks("B44", "takes dead letters off their queue before it has put them aside")
class BuriesInTwoSteps(RemoteBroker):
    def dead_letter(self, letters):
        for delivery, reason in letters:
            queue = self._store.queue(delivery.message.queue)
            with self._store.condition:
                entry = queue.settle(delivery)
            pause()
            self.ask()
            with self._store.condition:
                if entry is not None:
                    queue.dead.append(_DeadLetter(entry.message, reason, time.time()))


@breaks("B44", "takes dead letters out before it has published them again")
class ReplaysInTwoSteps(RemoteBroker):
    def replay(self, queue, message_ids=None):
        self.ask()
        with self._store.condition:
            letters = self._store.queue(queue).take_dead(message_ids)
        for letter in letters:
            pause()
            self.publish([letter.message])
        return len(letters)


@breaks("B44", "has dead letters in memory only for a while")
class BuriesInMemory(RemoteBroker):
    @staticmethod
    def recover(store):
        for queue in store.queues.values():
            latest = max((letter.at for letter in queue.dead), default=0.0)
            queue.dead = [letter for letter in queue.dead if letter.at < latest - _UNSAFE_SECONDS]


@breaks("B44", "has what was released with a delay in memory only")
class DelaysInMemory(RemoteBroker):
    @staticmethod
    def recover(store):
        for queue in store.queues.values():
            drop(queue.delayed, lambda entry: entry.deliveries > 0)


@breaks("B44", "has what was replayed in memory only")
class ReplaysInMemory(RemoteBroker):
    @staticmethod
    def recover(store):
        for queue in store.queues.values():
            drop(queue.ready, lambda entry: entry.replayed)
