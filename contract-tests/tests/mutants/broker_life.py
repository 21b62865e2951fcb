"""Brokers that break clauses B36 to B43."""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import suppress
from weakref import WeakKeyDictionary

from drivetrain.contract import QueueSection, ServiceRefused, ServiceUnavailable, evolve
from drivetrain.drivers.memory.broker import MemoryBroker, _Entry
from mutants.broker_base import breaks, entries, publishes
from mutants.remote import RemoteBroker


@breaks("B36", "connects when it is made")
class ConnectsAtOnce(MemoryBroker):
    def __init__(self, name, clock):
        with suppress(OSError), socket.create_connection(("127.0.0.1", 9), timeout=0.1):
            pass
        super().__init__(name, clock)


@breaks("B36", "asks the service when it is made")
class AsksAtOnce(RemoteBroker):
    def __init__(self, name, clock, remote):
        super().__init__(name, clock, remote)
        self.ask()


@breaks("B36", "cannot be pinged before it has connected")
class PingsLater(MemoryBroker):
    connected = False

    def publish(self, messages):
        self.connected = True
        super().publish(messages)

    def ping(self):
        if not self.connected:
            raise ServiceUnavailable("the connection is not open")


@breaks("B36", "says that all is well without asking")
class AlwaysWell(RemoteBroker):
    def ping(self):
        pass


@breaks("B37", "lets all threads wait for one that receives")
class OneConnection(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self._connection = threading.Lock()

    def receive(self, queues, **how):
        with self._connection:
            return super().receive(queues, **how)

    def publish(self, messages):
        with self._connection:
            super().publish(messages)


@breaks("B37", "mixes up what several threads publish")
class SharesABuffer(MemoryBroker):
    def publish(self, messages):
        self.buffer = messages
        time.sleep(0.0002)
        super().publish(self.buffer)


@breaks("B38", "fails when it is closed twice")
class ClosesOnce(MemoryBroker):
    closed = False

    def close(self):
        if self.closed:
            raise ServiceRefused("the connection is closed already")
        self.closed = True
        super().close()


@breaks("B38", "fails when it is closed before it was used")
class ClosesUsed(MemoryBroker):
    used = False

    def publish(self, messages):
        self.used = True
        super().publish(messages)

    def close(self):
        if not self.used:
            raise AttributeError("'NoneType' object has no attribute 'close'")
        super().close()


@breaks("B38", "wakes nobody when it is closed")
class ClosesQuietly(MemoryBroker):
    def close(self):
        pass


@breaks("B38", "lets a receive fail when it is closed")
class FailsWhenClosed(MemoryBroker):
    closed = False

    def close(self):
        self.closed = True
        super().close()

    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        if self.closed:
            raise ServiceUnavailable("the connection was closed")
        return found


@breaks("B38", "wakes with nothing the receives of others when it is closed and drops their queues")
class ClosesForAll(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            queue.drop(queue.ready)


@breaks("B39", "shares its state between namespaces")
class OneNamespace(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__("the-only-one", clock)


_KEPT = MemoryBroker("the-only-dead", time)  # type: ignore[arg-type]


@breaks("B39", "keeps the dead letters of all namespaces together")
class OneGrave(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter(letters)
        for delivery, _ in letters:
            name = delivery.message.queue
            _KEPT._store.queue(name).dead += self._store.queue(name).dead
            self._store.queue(name).dead = _KEPT._store.queue(name).dead

    def peek(self, queue, place, *, limit):
        if place is QueueSection.DEAD:
            return [letter.shown() for letter in _KEPT._store.queue(queue).dead][:limit]
        return super().peek(queue, place, limit=limit)


@breaks("B39", "gives every object a place of its own")
class Private(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__("", clock)


def recovers(name):
    """Mark a function that says what becomes of a queue when the service is started again."""

    def mark(lose):
        class Recovering(RemoteBroker):
            @staticmethod
            def recover(store):
                for queue in store.queues.values():
                    lose(queue)

        breaks("B40", name)(Recovering)
        return lose

    return mark


@recovers("drops delayed messages at a restart")
def drops_delayed(queue):
    queue.drop(queue.delayed)


@recovers("drops ready messages at a restart")
def drops_ready(queue):
    queue.drop(queue.ready)


@recovers("loses what was held at a crash")
def drops_held(queue):
    queue.drop(queue.in_flight)


@recovers("drops dead letters at a restart")
def drops_dead(queue):
    queue.take_dead(None)


@recovers("lets delayed messages go at a restart")
def releases_delayed(queue):
    for entry in entries(queue.delayed):
        queue.add_ready(entry)


@breaks("B40", "brings acknowledged messages back at a restart")
class ForgetsAcknowledgements(RemoteBroker):
    done = WeakKeyDictionary()

    def acknowledge(self, deliveries):
        super().acknowledge(deliveries)
        self.done.setdefault(self._store, []).extend(each.message for each in deliveries)

    @classmethod
    def recover(cls, store):
        for message in cls.done.pop(store, []):
            store.queue(message.queue).add_ready(_Entry(message, 0.0))


@breaks("B41", "says that there is nothing while the service is away")
class SaysNothing(RemoteBroker):
    def receive(self, queues, **how):
        with suppress(ServiceUnavailable):
            return super().receive(queues, **how)
        return []


@breaks("B41", "takes messages while the service is away and loses them")
class LosesPublished(RemoteBroker):
    def publish(self, messages):
        with suppress(ServiceUnavailable):
            super().publish(messages)


@breaks("B41", "never works again once it has lost its connection")
class NeverReconnects(RemoteBroker):
    lost = False

    def ask(self):
        self.lost = self.lost or not self.remote.up
        if self.lost:
            raise ServiceUnavailable("the connection is lost") from ConnectionResetError()
        super().ask()


@breaks("B41", "refuses where it should say that the service is away")
class Refuses(RemoteBroker):
    def ask(self):
        try:
            super().ask()
        except ServiceUnavailable as error:
            raise ServiceRefused("the service is away") from error


@breaks("B41", "waits for ever for an answer when the service goes away")
class HangsUp(RemoteBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = MemoryBroker.receive(self, queues, wait_seconds=wait_seconds, **how)
        if not self.remote.up or self.__dict__.get("hung"):
            self.hung = True
            threading.Event().wait(4)
        return found


@breaks("B42", "lets the error of its client through")
class Leaks(RemoteBroker):
    def ask(self):
        self.remote.answer()


@breaks("B42", "does not chain its errors")
class Unchained(RemoteBroker):
    def ask(self):
        if not self.remote.up:
            raise ServiceUnavailable("the service is away")


@breaks("B42", "shows the password of its URL")
class ShowsPassword(RemoteBroker):
    def ask(self):
        self.remote.shown = "memory://user:s3cret@service"
        super().ask()


@publishes("B42", "lets an error through when a time is too large")
def milliseconds(message):
    return message if message.eta is None else evolve(message, eta=int(message.eta * 1000) / 1000)


@publishes("B42", "lets an error through when a text cannot be encoded")
def encoded(message):
    return evolve(message, id=message.id.encode().decode())


@breaks("B43", "keeps for ever what it held when it is closed")
class KeepsHeld(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            for entry in entries(queue.in_flight):
                queue.hold(entry, math.inf)


@breaks("B43", "drops what it held when it is closed")
class DropsHeld(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            queue.drop(queue.in_flight)


@breaks("B43", "puts aside what it held when it is closed")
class BuriesHeld(MemoryBroker):
    def close(self):
        for queue in self._store.queues.values():
            self.dead_letter([(entry.deliver(), "its consumer was closed") for entry in entries(queue.in_flight)])
        super().close()
