"""Brokers that break clauses B15 to B21."""

from __future__ import annotations

import math
import time

from drivetrain.contract import ServiceRefused, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, entries
from mutants.broker_receiving import SleepsThrough


@breaks("B15", "redelivers acknowledged messages when their hold ends")
class AcknowledgesInVain(MemoryBroker):
    def acknowledge(self, deliveries):
        pass


@breaks("B15", "removes another message than the one that is acknowledged")
class AcknowledgesTheOldest(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            held = entries(self._store.queue(each.message.queue).in_flight)
            super().acknowledge([entry.deliver() for entry in held[-1:]])


@breaks("B15", "gives back at close what was acknowledged too")
class GivesBackAll(MemoryBroker):
    def acknowledge(self, deliveries):
        self.__dict__.setdefault("done", []).extend(each.message for each in deliveries)
        super().acknowledge(deliveries)

    def close(self):
        self.publish(self.__dict__.pop("done", []))
        super().close()


@breaks("B15", "ignores an acknowledgement after the hold has ended")
class Strict(MemoryBroker):
    def acknowledge(self, deliveries):
        self.sizes([each.message.queue for each in deliveries])
        held = {
            entry.receipt for each in deliveries for entry in entries(self._store.queue(each.message.queue).in_flight)
        }
        super().acknowledge([each for each in deliveries if each.receipt in held])


@breaks("B16", "acknowledges at receipt")
class PopsMessages(MemoryBroker):
    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        super().acknowledge(found)
        return found


@breaks("B16", "holds messages for ever")
class HoldsForEver(MemoryBroker):
    def receive(self, queues, *, hold_seconds, **how):
        return super().receive(queues, hold_seconds=hold_seconds + 1e6, **how)


@breaks("B16", "notices the end of a hold only when somebody asks anew")
class SleepsOverHolds(MemoryBroker):
    def _seconds_to_change(self, names):
        return math.inf


@breaks("B17", "says of every message that it is still held")
class SaysYes(MemoryBroker):
    def extend(self, deliveries, **how):
        return [True for _ in super().extend(deliveries, **how)]


@breaks("B17", "says that it has prolonged holds and does not")
class ProlongsNothing(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        return [each.receipt in self._store.queue(each.message.queue).open for each in deliveries]


@breaks("B17", "adds to the hold what is to be counted from now")
class AddsUp(MemoryBroker):
    def _extend(self, delivery, until):
        entry = self._store.queue(delivery.message.queue).open.get(delivery.receipt)
        left = 0 if entry is None else max(0.0, entry.key[0] - self._clock.monotonic())
        return super()._extend(delivery, until + left)


@breaks("B17", "prolongs no more after the first that is lost")
class StopsExtending(MemoryBroker):
    lost = False

    def extend(self, deliveries, **how):
        told = super().extend(deliveries, **how)
        return told if all(told) else [*told[: told.index(False)], *[False] * (len(told) - told.index(False))]


@breaks("B18", "forgets the delay of a release")
class ForgetsDelay(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries)


@breaks("B18", "rounds the delay of a release to whole seconds")
class RoundsDelay(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=int(delay_seconds))


@breaks("B18", "drops what is released")
class DropsReleased(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().acknowledge(deliveries)


@breaks("B18", "lets the hold end by itself in place of a release")
class LeavesItHeld(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        if delay_seconds:
            super().release(deliveries, delay_seconds=delay_seconds)


@breaks("B18", "loses the headers of what is released")
class RepublishesBare(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        self.acknowledge(deliveries)
        eta = time.time() + delay_seconds
        self.publish([evolve(each.message, headers={}, eta=eta) for each in deliveries])


@breaks("B18", "wakes nobody when it releases")
class ReleasesQuietly(SleepsThrough):
    pass


def late(method, name):
    """A broker that settles by the message and not by its delivery, so that it is never too late."""

    class Late(MemoryBroker):
        def present(self, delivery):
            for entry in self._store.queue(delivery.message.queue).open.values():
                if entry.message.id == delivery.message.id:
                    return evolve(delivery, receipt=entry.receipt)
            return delivery

    def settle(self, deliveries, **how):
        pairs = method == "dead_letter"
        present = [(self.present(each[0]), each[1]) if pairs else self.present(each) for each in deliveries]
        return getattr(MemoryBroker, method)(self, present, **how)

    setattr(Late, method, settle)
    breaks("B19", name)(Late)


late("acknowledge", "lets a late worker acknowledge")
late("release", "lets a late worker release")
late("dead_letter", "lets a late worker put a message aside")
late("extend", "lets a late worker prolong its hold")


@breaks("B19", "fails when it is too late")
class RefusesLate(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            if each.receipt not in self._store.queue(each.message.queue).open:
                raise ServiceRefused("PRECONDITION_FAILED: unknown delivery tag")
        super().acknowledge(deliveries)


@breaks("B20", "fails when something is settled twice")
class RefusesTwice(RefusesLate):
    pass


@breaks("B20", "puts a message back twice that is released twice")
class ReleasesTwice(MemoryBroker):
    def release(self, deliveries, **how):
        seen = self.__dict__.setdefault("seen", set())
        again = [each.message for each in deliveries if each.receipt in seen]
        seen.update(each.receipt for each in deliveries)
        super().release(deliveries, **how)
        self.publish(again)


@breaks("B20", "keeps a dead letter for each time that it was put aside")
class BuriesTwice(MemoryBroker):
    def dead_letter(self, letters):
        for delivery, reason in letters:
            queue = self._store.queue(delivery.message.queue)
            super().dead_letter([(delivery, reason)])
            if delivery.message.id not in [letter.message.id for letter in queue.dead[-1:]] or len(letters) > 1:
                self._again(delivery, reason)

    def _again(self, delivery, reason):
        self.publish([delivery.message])
        with self._store.condition:
            super().dead_letter([(each, reason) for each in self._take([delivery.message.queue], 1, 60)])


@breaks("B21", "stops at the first of a batch that it does not know")
class StopsSettling(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            if each.receipt not in self._store.queue(each.message.queue).open:
                return
            super().acknowledge([each])


@breaks("B21", "settles nothing when it does not know one of a batch")
class AllOrNothing(MemoryBroker):
    def release(self, deliveries, **how):
        if all(each.receipt in self._store.queue(each.message.queue).open for each in deliveries):
            super().release(deliveries, **how)


@breaks("B21", "settles the first ten of a batch")
class SettlesTen(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge(deliveries[:10])

    def release(self, deliveries, **how):
        super().release(deliveries[:10], **how)
