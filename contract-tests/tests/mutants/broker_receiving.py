"""Brokers that break clauses B6 to B14."""

from __future__ import annotations

import math
import threading
import time

from drivetrain.contract import evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, entries, hands_out, orders

__all__ = ["SleepsThrough"]


@breaks("B6", "hands out all that it has prefetched")
class Prefetches(MemoryBroker):
    def receive(self, queues, *, limit, **how):
        return super().receive(queues, limit=max(limit, 10), **how)


@breaks("B6", "takes the limit for that of each queue")
class LimitsQueues(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = [each for queue in queues for each in super(LimitsQueues, self).receive([queue], wait_seconds=0, **how)]
        return found or super().receive(queues, wait_seconds=wait_seconds, **how)


@breaks("B6", "takes the name of a queue for a pattern")
class MatchesNames(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive([name for name in self.queues() if name.startswith(tuple(queues))] or queues, **how)


@breaks("B7", "delivers one message to two consumers that ask at once")
class LooksThenTakes(MemoryBroker):
    def receive(self, queues, *, limit, wait_seconds, hold_seconds):
        with self._store.condition:
            seen = [
                (queue, entry)
                for queue in self._store.known(queues, self._clock)
                for entry in queue.ready.smallest(limit)
            ]
        time.sleep(0.001)  # the way to the service and back
        if not seen:
            return super().receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)
        with self._store.condition:
            until = self._clock.monotonic() + hold_seconds
            return [self._give(queue, entry, until) for queue, entry in seen[:limit]]

    def _give(self, queue, entry, until):
        queue.give_back(entry)
        entry.move(queue.ready, (-math.inf, 0))
        return queue.hand_out(1, until)[0]


@breaks("B7", "hides what is held from its own object only")
class HidesFromItself(MemoryBroker):
    def receive(self, queues, **how):
        mine = self.__dict__.setdefault("mine", set())
        with self._store.condition:
            for queue in self._store.known(queues, self._clock):
                for entry in entries(queue.in_flight):
                    if entry.receipt not in mine:
                        queue.give_back(entry)
        found = super().receive(queues, **how)
        mine.update(each.receipt for each in found)
        return found


@breaks("B7", "holds messages for half as long as was asked")
class HoldsHalf(MemoryBroker):
    def receive(self, queues, *, hold_seconds, **how):
        return super().receive(queues, hold_seconds=hold_seconds / 2, **how)


@breaks("B8", "asks queues in the order of their names")
class SortsQueues(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive(sorted(queues), **how)


@breaks("B8", "takes turns between queues")
class TakesTurns(MemoryBroker):
    calls = 0

    def receive(self, queues, **how):
        self.calls += 1
        turn = self.calls % len(queues)
        return super().receive([*queues[turn:], *queues[:turn]], **how)


@breaks("B8", "waits for the first queue before it asks the next one")
class AsksOneByOne(MemoryBroker):
    def receive(self, queues, **how):
        for queue in queues:
            if found := super().receive([queue], **how):
                return found
        return []


@orders("B9", "ignores priorities")
def ignores_priority(entry):
    return 0, entry.turn


@orders("B9", "delivers the lowest priority first")
def lowest_first(entry):
    return entry.message.priority, entry.turn


@orders("B9", "has three levels of priority and declares ten")
def three_levels(entry):
    return -(entry.message.priority * 3 // 10), entry.turn


@orders("B10", "delivers the newest message first")
def newest_first(entry):
    return -entry.message.priority, -entry.turn


@orders("B10", "swaps neighbours")
def swapped(entry):
    return -entry.message.priority, entry.turn ^ 1 << 64  # a turn begins with its round


@breaks("B11", "looks again only when its time is out")
class SleepsThrough(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = super().receive(queues, wait_seconds=0, **how)
        if found or not wait_seconds:
            return found
        threading.Event().wait(wait_seconds)
        return super().receive(queues, wait_seconds=0, **how)


@breaks("B11", "waits until it has as many as were asked for")
class FillsUp(MemoryBroker):
    def receive(self, queues, *, limit, wait_seconds, hold_seconds):
        end, found = time.monotonic() + wait_seconds, []
        while len(found) < limit and (left := end - time.monotonic()) > 0:
            found += super().receive(queues, limit=limit - len(found), wait_seconds=left, hold_seconds=hold_seconds)
        return found


@breaks("B11", "is woken by what its own object publishes and by nobody else")
class DeafToOthers(SleepsThrough):
    def receive(self, queues, *, wait_seconds, **how):
        self.woken = threading.Event()
        found = MemoryBroker.receive(self, queues, wait_seconds=0, **how)
        if not found:
            self.woken.wait(wait_seconds)
            found = MemoryBroker.receive(self, queues, wait_seconds=0, **how)
        return found

    def publish(self, messages):
        super().publish(messages)
        if hasattr(self, "woken"):
            self.woken.set()


@breaks("B12", "polls without a pause")
class PollsBusily(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        end = time.monotonic() + wait_seconds
        while not (found := super().receive(queues, wait_seconds=0, **how)) and time.monotonic() < end:
            pass
        return found


@breaks("B12", "polls with a pause of half a millisecond")
class PollsOften(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        end = self._clock.monotonic() + wait_seconds
        while not (found := super().receive(queues, wait_seconds=0, **how)) and self._clock.monotonic() < end:
            time.sleep(0.0005)
        return found


@breaks("B12", "polls busily in a thread of its own")
class PollsAside(MemoryBroker):
    def receive(self, queues, **how):
        done = threading.Event()
        threading.Thread(target=self._poll, args=(done,), daemon=True).start()
        try:
            return super().receive(queues, **how)
        finally:
            done.set()

    def _poll(self, done):
        while not done.is_set():
            self._store.condition  # noqa: B018


@breaks("B12", "returns at once with nothing")
class NeverWaits(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive(queues, **{**how, "wait_seconds": 0})


@breaks("B12", "rounds the time to wait up to whole seconds")
class WaitsLonger(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        return super().receive(queues, wait_seconds=math.floor(wait_seconds) + 1, **how)


@hands_out("B13", "never says that a message was handed out before")
def fresh_always(delivery):
    return evolve(delivery, redelivered=False)


@hands_out("B13", "says of every message that it was handed out before")
def known_always(delivery):
    return evolve(delivery, redelivered=True)


@hands_out("B13", "forgets with a replay that a message was handed out")
def fresh_after_replay(delivery):
    return evolve(delivery, redelivered=delivery.delivery_count > 1)


@breaks("B13", "marks what is released and not what its consumer lost")
class MarksReleased(MemoryBroker):
    def release(self, deliveries, **how):
        self.__dict__.setdefault("released", set()).update(each.message.id for each in deliveries)
        super().release(deliveries, **how)

    def receive(self, queues, **how):
        released = self.__dict__.get("released", set())
        return [evolve(each, redelivered=each.message.id in released) for each in super().receive(queues, **how)]


@hands_out("B14", "counts deliveries from zero")
def counts_from_zero(delivery):
    return evolve(delivery, delivery_count=delivery.delivery_count - 1)


@hands_out("B14", "counts every delivery as the first")
def counts_one(delivery):
    return evolve(delivery, delivery_count=1)


@breaks("B14", "begins to count anew with a release")
class ForgetsCounts(MemoryBroker):
    def release(self, deliveries, **how):
        for each in deliveries:
            if entry := self._store.queue(each.message.queue).open.get(each.receipt):
                entry.deliveries = 0
        super().release(deliveries, **how)
