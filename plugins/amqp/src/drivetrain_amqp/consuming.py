"""The channel on which messages are received: short-lived consumers, and what they are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from struct import Struct
from typing import Any

from attrs import frozen
from pika import exceptions, spec

from drivetrain.contract import Clock
from drivetrain_amqp import wire
from drivetrain_amqp.channel import Channel, Content
from drivetrain_amqp.connection import Connection
from drivetrain_amqp.errors import Timeout
from drivetrain_amqp.holds import Holds

__all__ = ["Arrived", "Consuming"]

_generations = count(1)
_TAG = Struct(">QB")
_LARGEST_PREFETCH = 65_535
#: How long to wait for what was there a moment ago: somebody else may have it.
_QUORUM_SECONDS = 0.5


@frozen
class Arrived:
    """A delivery as it came."""

    queue: str
    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class Consuming(Channel):
    """A channel for receiving. What it was sent is held as long as it is open."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        #: No two channels of this process have the same: a receipt of an earlier one is stale.
        self.generation = next(_generations)
        self.holds = Holds()
        self._changed = threading.Condition()
        self._arrived: list[Arrived] = []
        #: Whether somebody receives: what comes at other times goes back at once.
        self._wanted = False
        #: The tags of consumers that are open.
        self._consumers: set[str] = set()
        #: Every queue that was ever asked. A tag ends with the place of its queue: RabbitMQ may send something after it
        #: has said that the consumer is gone.
        self._queues: dict[str, int] = {}
        self._names: list[str] = []
        #: Queues whose consumers the server has ended.
        self._cancelled: list[str] = []
        self._numbers = count(1)
        self._prefetch = 0
        self.call_at_end(self.wake)

    def open(self) -> None:
        """See `Channel.open`."""
        self.barrier()

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    # Consumers

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Take what comes meanwhile."""
        self._wanted = True
        try:
            yield
        finally:
            with self._changed:
                self._wanted = False
                late, self._arrived = self._arrived, []
            self.give_back(late)

    def give_back(self, arrived: list[Arrived]) -> None:
        """Let others have what was sent and is not handed on."""
        if arrived and self.error is None:
            with self._lock, suppress(exceptions.AMQPError):  # if the channel ends now, they go back by themselves
                claimed = self.holds.claim([each.tag for each in arrived])
                self.write(self.holds.settle(self.number, claimed, wire.nack))

    def fetch(self, queue: str, limit: int) -> list[Arrived]:
        """What lies in a classic queue now, up to ``limit``; RabbitMQ may give less than there is."""
        tag, data = self._consume(queue, limit)
        self.write(data + self._cancel(tag))
        self._await_end([tag])
        return self.taken()

    def fetch_from_quorum(self, queue: str, limit: int) -> list[Arrived]:
        """What lies in a quorum queue in which something lies, up to ``limit``.

        Such a queue says that a consumer is gone before it has sent what it gave it, so that one must wait for it.
        """
        if not self.ask(spec.Queue.Declare(queue=queue, passive=True))[0].message_count:
            return []
        tag, data = self._consume(queue, limit)
        self.write(data)
        self._await(lambda: bool(self._arrived), _QUORUM_SECONDS)
        self.unsubscribe([tag])
        self.barrier()  # it sends all that it gives at once in one piece
        return self.taken()

    def subscribe(self, queues: tuple[str, ...]) -> list[str]:
        """Open a consumer for one message on each queue; their tags."""
        opened = [self._consume(queue, 1) for queue in queues]
        self.write(b"".join(data for _, data in opened))
        return [tag for tag, _ in opened]

    def unsubscribe(self, tags: list[str]) -> None:
        """End consumers; afterwards they are sent nothing more."""
        still = [tag for tag in tags if tag in self._consumers]
        if still:
            self.write(b"".join(self._cancel(tag) for tag in still))
        self._await_end(still)

    def unsubscribe_later(self, tag: str) -> None:
        """End a consumer that was sent its one message.

        It is sent no other one before that is settled, of which RabbitMQ hears after this. So this takes no write of
        its own, for which the message would have to wait.
        """
        if tag in self._consumers:
            self.postpone(self._cancel(tag))

    def _consume(self, queue: str, prefetch: int) -> tuple[str, bytes]:
        tag, prefetch = f"{next(self._numbers)}.{self._place(queue)}", min(prefetch, _LARGEST_PREFETCH)
        self._consumers.add(tag)
        # RabbitMQ 3.10 crashes a channel on which a consumer is cancelled whose beginning was to be answered.
        consume = wire.method(self.number, spec.Basic.Consume(queue=queue, consumer_tag=tag, nowait=True))
        # The prefetch count of a channel is that of the consumers that are opened afterwards, each for itself.
        return tag, wire.method(self.number, spec.Basic.Qos(0, prefetch, False)) + consume

    def _place(self, queue: str) -> int:
        place = self._queues.get(queue)
        if place is None:
            place = self._queues[queue] = len(self._names)
            self._names.append(queue)
        return place

    def _queue(self, tag: str) -> str:
        return self._names[int(tag.partition(".")[2])]

    def _cancel(self, tag: str) -> bytes:
        return wire.method(self.number, spec.Basic.Cancel(consumer_tag=tag))

    def _await_end(self, tags: list[str]) -> None:
        seconds = self.connection.call_timeout_seconds
        if not self._await(lambda: self._consumers.isdisjoint(tags), seconds):
            self.connection.fail(Timeout(f"no answer within {seconds:g} seconds"))
        self._check()

    def wait(self, clock: Clock, deadline: float, stopped: Callable[[], bool]) -> None:
        """Wait until something has arrived or a consumer was ended, until ``deadline``, or until ``stopped()``."""

        def done() -> bool:
            return bool(self._arrived or self._cancelled) or stopped()

        while (left := deadline - clock.monotonic()) > 0 and not self._await(done, left, clock.wait):
            pass

    def _await(
        self,
        done: Callable[[], bool],
        seconds: float,
        sleep: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> bool:
        """Wait until ``done()``, or until the channel has ended; whether that is so within ``seconds``."""

        def ended() -> bool:
            return self.error is not None or done()

        def doze(left: float) -> None:
            with self._changed:
                if not ended():
                    sleep(self._changed, left)

        return self.connection.wait(ended, doze, seconds)

    def taken(self) -> list[Arrived]:
        """What has arrived since this was last asked."""
        with self._changed:
            arrived, self._arrived = self._arrived, []
        return arrived

    def cancelled(self) -> list[str]:
        """Queues whose consumers the server has ended since this was last asked."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
        return cancelled

    # Settling

    def settle(self, tags: list[int], *, requeue: bool = False) -> None:
        """Acknowledge or give back those that are held, and wait until the server has seen it."""
        with self._lock:
            self._check()
            data = self.holds.settle(self.number, self.holds.claim(tags), wire.nack if requeue else wire.ack)
            asked = self.begin_barrier(data)
        self.answers(asked)

    def claim(self, tags: list[int]) -> list[int]:
        """Those of ``tags`` that are held, for the caller alone to settle."""
        with self._lock:
            self._check()
            return self.holds.claim(tags)

    def finish(self, claimed: list[int]) -> None:
        """Acknowledge what was claimed."""
        with self._lock:
            self._check()
            asked = self.begin_barrier(self.holds.settle(self.number, claimed))
        self.answers(asked)

    def unclaim(self, tags: list[int]) -> None:
        """Hold as before what was claimed."""
        with self._lock:
            self.holds.unclaim(tags)

    # Called by whoever reads, one at a time

    def on_method(self, method: Any) -> None:
        """See `Channel.on_method`."""
        if isinstance(method, spec.Basic.CancelOk):
            self._end_consumer(str(method.consumer_tag))
        elif isinstance(method, spec.Basic.Cancel):
            self._cancelled.append(self._queue(str(method.consumer_tag)))
            self._end_consumer(str(method.consumer_tag))
        elif not isinstance(method, spec.Basic.QosOk):
            super().on_method(method)

    def _end_consumer(self, tag: str) -> None:
        with self._changed:
            self._consumers.discard(tag)
            self._changed.notify_all()

    def on_content(self, content: Content) -> None:
        """See `Channel.on_content`; a delivery is not decoded further here."""
        payload = content.method
        if not isinstance(payload, bytes):
            super().on_content(content)
            return
        start = 5 + payload[4]
        tag, redelivered = _TAG.unpack_from(payload, start)
        self.holds.add(tag)
        queue = self._queue(payload[5:start].decode())
        arrived = Arrived(queue, tag, bool(redelivered & 1), content.properties, content.body)
        with self._changed:
            if self._wanted:
                self._arrived.append(arrived)
                if len(self._arrived) == 1:  # nobody waits for more than the first
                    self._changed.notify_all()
                return
        self.give_back([arrived])
