"""Brokers that are wrong at the boundaries of time."""

from __future__ import annotations

import time

from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks

_WRAP = 2**32


def in_32_bits_of_milliseconds(seconds):
    return ((int(seconds * 1000) + _WRAP // 2) % _WRAP - _WRAP // 2) / 1000


def holds(clause, name, change):
    """A broker that holds messages for another time than it was asked."""

    class Holding(MemoryBroker):
        def receive(self, queues, *, hold_seconds, **how):
            return super().receive(queues, hold_seconds=change(hold_seconds), **how)

    breaks(clause, name)(Holding)


def extends(clause, name, change):
    """A broker that extends a hold by another time than it was asked."""

    class Extending(MemoryBroker):
        def extend(self, deliveries, *, hold_seconds):
            return super().extend(deliveries, hold_seconds=change(hold_seconds))

    breaks(clause, name)(Extending)


holds("B7", "cuts a hold to whole seconds", lambda seconds: max(1, int(seconds)))
holds("B7", "holds messages five per cent shorter than was asked", lambda seconds: 0.95 * seconds)
holds("B7", "keeps holds in 32 bits of milliseconds", in_32_bits_of_milliseconds)
holds("B7", "holds messages for ten minutes at most", lambda seconds: min(seconds, 600.0))
extends("B17", "cuts an extension to whole seconds", lambda seconds: max(1, int(seconds)))
extends("B17", "extends a hold five per cent shorter than was asked", lambda seconds: 0.95 * seconds)
extends("B17", "keeps extensions in 32 bits of milliseconds", in_32_bits_of_milliseconds)


@breaks("B7", "counts a hold from the beginning of the receive")
class HoldsFromTheCall(MemoryBroker):
    def receive(self, queues, *, hold_seconds, **how):
        began = self._clock.monotonic()
        found = super().receive(queues, hold_seconds=hold_seconds, **how)
        super().extend(found, hold_seconds=max(0.0, hold_seconds - (self._clock.monotonic() - began)))
        return found


class NotesReceives(MemoryBroker):
    """Notes when it handed out what."""

    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        self.__dict__.setdefault("handed", {}).update({each.receipt: time.monotonic() for each in found})
        return found


@breaks("B18", "counts the delay of a release from the receive")
class DelaysFromReceive(NotesReceives):
    def release(self, deliveries, *, delay_seconds=0.0):
        for each in deliveries:
            since = time.monotonic() - self.__dict__.get("handed", {}).get(each.receipt, time.monotonic())
            super().release([each], delay_seconds=max(0.0, delay_seconds - since))


@breaks("B17", "counts an extension from the receive")
class ExtendsFromReceive(NotesReceives):
    def extend(self, deliveries, *, hold_seconds):
        now, handed = time.monotonic(), self.__dict__.get("handed", {})
        return [
            held
            for each in deliveries
            for held in super(ExtendsFromReceive, self).extend(
                [each], hold_seconds=max(0.0, hold_seconds - (now - handed.get(each.receipt, now)))
            )
        ]


@breaks("B18", "keeps the first delay of a message that is released again")
class KeepsFirstDelay(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        first = self.__dict__.setdefault("first", {})
        for each in deliveries:
            delay = first.setdefault(each.message.id, delay_seconds) if delay_seconds else 0.0
            super().release([each], delay_seconds=delay)


@breaks("B18", "gives what is released with a delay back when its hold ends")
class DelaysUntilHoldEnds(NotesReceives):
    def receive(self, queues, *, hold_seconds, **how):
        self.hold = hold_seconds
        return super().receive(queues, hold_seconds=hold_seconds, **how)

    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=min(delay_seconds, self.__dict__.get("hold", delay_seconds)))


@breaks("B12", "waits for a second at least")
class WaitsASecond(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        return super().receive(queues, wait_seconds=max(wait_seconds, 1.0) if wait_seconds else 0, **how)


@breaks("B12", "waits for nine tenths of the time")
class WaitsNineTenths(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        return super().receive(queues, wait_seconds=0.7 * wait_seconds, **how)


@breaks("B22", "counts a delay from the publish before")
class DelaysFromBefore(MemoryBroker):
    def publish(self, messages):
        now = time.time()
        since, self.before = now - self.__dict__.get("before", now), now
        super().publish([m if m.eta is None else type(m)(**{**_fields(m), "eta": m.eta - since}) for m in messages])


def _fields(message):
    return {name: getattr(message, name) for name in message.__struct_fields__}
