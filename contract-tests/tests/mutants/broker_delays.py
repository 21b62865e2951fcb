"""Brokers that break clauses B22 to B27."""

from __future__ import annotations

import math
import time

from drivetrain.contract import evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, orders, publishes
from mutants.broker_publishing import decoded


@publishes("B22", "rounds an ETA down to whole seconds")
def rounds_down(message):
    return message if message.eta is None else evolve(message, eta=float(math.floor(message.eta)))


@publishes("B22", "lets messages go when they are due with its next tick")
def early_by_a_tick(message):
    return message if message.eta is None else evolve(message, eta=message.eta - 0.05)


@publishes("B22", "takes no notice of an ETA")
def ignores_eta(message):
    return evolve(message, eta=None)


@breaks("B23", "looks once in a second for what is due")
class LooksSeldom(MemoryBroker):
    def _seconds_to_change(self, names):
        return 1.0


@breaks("B23", "lets one message go at each tick")
class OneAtATick(MemoryBroker):
    def receive(self, queues, *, limit, **how):
        found = super().receive(queues, limit=1, **how)
        time.sleep(0.05)
        return found


@publishes("B23", "rounds an ETA up to whole seconds and declares a twentieth of one")
def rounds_up(message):
    return message if message.eta is None else evolve(message, eta=float(math.ceil(message.eta)) + 1)


@orders("B24", "lets those go first that became due last")
def newest_due_first(entry):
    return -entry.message.priority, entry.turn if entry.message.eta is None else -entry.turn


@breaks("B24", "delivers delayed messages in the order in which they were published")
class FirstInFirstOut(MemoryBroker):
    def publish(self, messages):
        for each in messages:
            due = max(each.eta or 0.0, self.__dict__.get("latest", 0.0))
            self.latest = due if each.queue == "q" else self.__dict__.get("latest", 0.0)
            super().publish([evolve(each, eta=due)])


@breaks("B25", "lets a short delay wait behind a longer one")
class HeadOfLine(MemoryBroker):
    def publish(self, messages):
        latest = self.__dict__.setdefault("latest", {})
        for each in messages:
            if each.eta is not None:
                latest[each.queue] = max(each.eta, latest.get(each.queue, 0.0))
            super().publish([each if each.eta is None else evolve(each, eta=latest[each.queue])])


@breaks("B25", "lets what is ready wait behind what is delayed")
class OneLine(HeadOfLine):
    def publish(self, messages):
        latest = self.__dict__.setdefault("latest", {})
        for each in messages:
            latest[each.queue] = max(each.eta or 0.0, latest.get(each.queue, 0.0))
            MemoryBroker.publish(self, [evolve(each, eta=latest[each.queue])])


def delays(clause, name):
    """Mark a function from the delay of a message to the one that it has."""

    def mark(change):
        @publishes(clause, name)
        def delayed(message):
            now = time.time()
            return message if message.eta is None else evolve(message, eta=now + change(message.eta - now))

        return change

    return mark


@delays("B26", "takes a delay below one second for none")
def to_zero(delay):
    return float(int(delay))


@delays("B26", "takes a delay below one second for one without end")
def to_never(delay):
    return delay if int(delay) else 1e9


@delays("B26", "counts milliseconds in 32 bits")
def wraps(delay):
    return ((int(delay * 1000) + 2**31) % 2**32 - 2**31) / 1000


@delays("B26", "takes an ETA in the past for one without end")
def past_is_never(delay):
    return delay if delay > 0 else 1e9


@publishes("B27", "loses the headers of delayed messages")
def bare_when_delayed(message):
    return message if message.eta is None else evolve(message, headers={})


@publishes("B27", "keeps delayed bodies as text")
def text_when_delayed(message):
    return message if message.eta is None else decoded(message)


@publishes("B27", "gives delayed messages the lowest priority")
def low_when_delayed(message):
    return message if message.eta is None else evolve(message, priority=0)


@breaks("B27", "counts the end of a delay as a delivery")
class PromotesByReceiving(MemoryBroker):
    def receive(self, queues, **how):
        return [
            each if each.message.eta is None else evolve(each, delivery_count=each.delivery_count + 1)
            for each in super().receive(queues, **how)
        ]
