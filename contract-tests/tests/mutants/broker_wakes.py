"""Brokers that wake the wrong one, or nobody, or too late."""

from __future__ import annotations

import math

from drivetrain.contract import ConfigurationError, ServiceUnavailable, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks


class Choosy(MemoryBroker):
    """A wait that sees changes of some of its queues only, until its time is out."""

    def watched(self, queues):
        return queues

    def receive(self, queues, *, wait_seconds, **how):
        found = super().receive(queues, wait_seconds=0, **how)
        found = found or super().receive(self.watched(queues), wait_seconds=wait_seconds, **how)
        return found or super().receive(queues, wait_seconds=0, **how)


@breaks("B11", "is woken for the first of its queues only")
class FirstQueue(Choosy):
    def watched(self, queues):
        return queues[:1]


@breaks("B11", "is woken for the last of its queues only")
class LastQueue(Choosy):
    def watched(self, queues):
        return queues[-1:]


@breaks("B11", "wakes one of several that wait")
class WakesOne(MemoryBroker):
    def publish(self, messages):
        condition = self._store.condition
        condition.notify_all, before = condition.notify, condition.notify_all
        try:
            super().publish(messages)
        finally:
            condition.notify_all = before


class Planned(MemoryBroker):
    """Plans its next look when it begins to wait, and is woken by nothing but ``publish`` of what is ready."""

    quiet = ("release",)

    def _silently(self, call):
        condition = self._store.condition
        condition.notify_all, before = (lambda: None), condition.notify_all
        try:
            return call()
        finally:
            condition.notify_all = before


@breaks("B18", "plans no look at what is released with a delay")
class ForgetsDelayedRelease(Planned):
    def release(self, deliveries, *, delay_seconds=0.0):
        def release():
            return super(ForgetsDelayedRelease, self).release(deliveries, delay_seconds=delay_seconds)

        return self._silently(release) if delay_seconds else release()


@breaks("B23", "plans no sooner look for what is due sooner")
class ForgetsSooner(Planned):
    def publish(self, messages):
        later = all(each.eta is not None for each in messages)
        publish = super().publish
        return self._silently(lambda: publish(messages)) if later else publish(messages)


@breaks("B17", "plans no sooner look when a hold is made shorter")
class ForgetsShorterHold(Planned):
    def extend(self, deliveries, *, hold_seconds):
        extend = super().extend
        return self._silently(lambda: extend(deliveries, hold_seconds=hold_seconds))


@breaks("B16", "looks for the end of holds that began before it waited")
class ForgetsNewHolds(MemoryBroker):
    def _seconds_to_change(self, names):
        known = [self._store.queues[name] for name in names if name in self._store.queues]
        due = min((queue.delayed.first_key()[0] for queue in known if queue.delayed.first_key()), default=math.inf)
        return due - self._clock.now()


@breaks("B38", "wakes the receives of all objects when one is closed")
class ClosesAll(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        stop = self._clock.monotonic() + wait_seconds
        while True:
            before = _CLOSED.get(id(self._store), 0)
            left = min(0.02, stop - self._clock.monotonic())
            found = super().receive(queues, wait_seconds=max(0.0, left), **how)
            if found or left <= 0 or _CLOSED.get(id(self._store), 0) != before:
                return found

    def close(self):
        _CLOSED[id(self._store)] = _CLOSED.get(id(self._store), 0) + 1
        super().close()


#: How often an object of a store was closed.
_CLOSED: dict[int, int] = {}


@breaks("B38", "raises in a receive when its object is closed")
class RaisesWhenClosed(MemoryBroker):
    def receive(self, queues, **how):
        before = self._closings
        found = super().receive(queues, **how)
        if self._closings != before:
            raise ServiceUnavailable("the connection was closed")
        return found


@breaks("B38", "cannot be used again after it was closed")
class Final(MemoryBroker):
    def publish(self, messages):
        if self._closings:
            raise ServiceUnavailable("this broker is closed")
        super().publish(messages)


@breaks("B38", "raises when it is closed twice")
class ClosesOnce(MemoryBroker):
    def close(self):
        if self._closings:
            raise ConfigurationError("this broker is closed")
        super().close()


@breaks("B12", "returns with nothing when a message of another queue is published")
class SpuriousWake(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        with self._store.condition:
            found = self._take(queues, how["limit"], how["hold_seconds"])
            if found or wait_seconds <= 0:
                return found
            self._clock.wait(self._store.condition, min(wait_seconds, self._seconds_to_change(queues)))
            return self._take(queues, how["limit"], how["hold_seconds"])


@breaks("B8", "keeps to the first queue while something is delayed in it")
class StaysAtTheFirst(MemoryBroker):
    def receive(self, queues, **how):
        with self._store.condition:
            known = self._store.known(queues[:1], self._clock)
            stay = known and (len(known[0].delayed) or len(known[0].in_flight))
        return super().receive(queues[:1] if stay else queues, **how)


@breaks("B42", "raises the error of arithmetic for an ETA that is no number")
class CountsMilliseconds(MemoryBroker):
    def publish(self, messages):
        super().publish(
            [m if m.eta is None or math.isinf(m.eta) else evolve(m, eta=int(m.eta * 1e6) / 1e6) for m in messages]
        )


@breaks("B42", "never delivers again from a queue with an ETA that is no number")
class Poisoned(MemoryBroker):
    def receive(self, queues, **how):
        poisoned = self.__dict__.get("poisoned", set())
        return super().receive([queue for queue in queues if queue not in poisoned] or ["none"], **how)

    def publish(self, messages):
        nan = {each.queue for each in messages if each.eta is not None and math.isnan(each.eta)}
        self.__dict__.setdefault("poisoned", set()).update(nan)
        super().publish(messages)
