"""Receiving without a local buffer of messages.

RabbitMQ counts a message in a consumer's buffer as delivered, and gives it to nobody else. So the driver takes only
what a call asks for. A call opens a consumer for as many messages as it may return, takes what comes, and ends the
consumer. If the queues are empty, the call keeps one consumer for one message on each queue until the first message
comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from struct import Struct

from attrs import frozen
from pika import exceptions, spec

from drivetrain.contract import Clock, Delivery
from drivetrain_amqp.codec import decode_message
from drivetrain_amqp.connection import Connection
from drivetrain_amqp.connection_manager import ConnectionManager, Declarer, errors_translated
from drivetrain_amqp.errors import NOT_FOUND, PRECONDITION_FAILED, Timeout
from drivetrain_amqp.protocol.frames import Content, method_frame
from drivetrain_amqp.settle import SettlingChannel

__all__ = ["ConsumerChannel", "RawDelivery", "Receiver"]

logger = logging.getLogger("drivetrain.amqp")

_TAG = Struct(">QB")
_LARGEST_PREFETCH = 65_535
#: How long to wait for a message that was in the queue a moment ago: another consumer may have got it.
_QUORUM_SECONDS = 0.5
#: How many messages a classic queue sends to a new consumer before it waits for the network.
_CLASSIC_BURST = 200
#: How often one `receive` opens a channel, where RabbitMQ has closed the one before.
_CHANNEL_ATTEMPTS = 3


@frozen
class RawDelivery:
    """A delivery that is not decoded yet."""

    queue: str
    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class ConsumerChannel(SettlingChannel):
    """The channel for receiving, with consumers that exist for one call at most."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self._changed = threading.Condition()
        self._arrived: list[RawDelivery] = []
        #: Whether a call receives now. The channel gives back what comes at other times.
        self._receiving = False
        #: The tags of open consumers.
        self._consumers: set[str] = set()
        #: The number of each queue. A consumer tag ends with it: RabbitMQ may send a message after it has confirmed the
        #: end of its consumer.
        self._queue_numbers: dict[str, int] = {}
        self._queues: list[str] = []
        #: Queues whose consumers RabbitMQ has ended.
        self._cancelled: list[str] = []
        self._consumer_numbers = count(1)
        self.call_at_end(self.wake)

    def open(self) -> None:
        """See `Channel.open`."""
        self.barrier()

    def wake(self) -> None:
        """Let a waiting call check again whether to wait on."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Take the messages that come meanwhile."""
        self._receiving = True
        try:
            yield
        finally:
            with self._changed:
                self._receiving = False
                late, self._arrived = self._arrived, []
            self.give_back([each.tag for each in late])

    def fetch(self, queue: str, limit: int) -> list[RawDelivery]:
        """Up to ``limit`` messages that a classic queue has now; RabbitMQ may give fewer than there are."""
        tag, data = self._consume(queue, limit)
        self.write(data + self._cancel(tag))
        self._await_end([tag])
        return self.take_arrived()

    def fetch_from_quorum(self, queue: str, limit: int) -> list[RawDelivery]:
        """Up to ``limit`` messages that a quorum queue has now.

        A quorum queue confirms the end of a consumer before it sends the messages: so this waits for them.
        """
        if not self.request(spec.Queue.Declare(queue=queue, passive=True))[0].message_count:
            return []
        tag, data = self._consume(queue, limit)
        self.write(data)
        self._await(lambda: bool(self._arrived), _QUORUM_SECONDS)
        self.unsubscribe([tag])
        self.barrier()  # RabbitMQ sends all messages of this consumer together
        return self.take_arrived()

    def subscribe(self, queues: tuple[str, ...]) -> list[str]:
        """Open a consumer for one message on each queue; their tags."""
        opened = [self._consume(queue, 1) for queue in queues]
        self.write(b"".join(data for _, data in opened))
        return [tag for tag, _ in opened]

    def unsubscribe(self, tags: list[str]) -> None:
        """End consumers. Afterwards RabbitMQ sends them nothing more."""
        still_open = [tag for tag in tags if tag in self._consumers]
        if still_open:
            self.write(b"".join(self._cancel(tag) for tag in still_open))
        self._await_end(still_open)

    def unsubscribe_later(self, tag: str) -> None:
        """End a consumer that has its one message, without a write of its own, which would delay the message.

        RabbitMQ sends it no other message before this one is settled, and hears of the end before that.
        """
        if tag in self._consumers:
            self.postpone(self._cancel(tag))

    def _consume(self, queue: str, prefetch: int) -> tuple[str, bytes]:
        tag = f"{next(self._consumer_numbers)}.{self._queue_number(queue)}"
        self._consumers.add(tag)
        # nowait: RabbitMQ 3.10 crashes a channel that cancels a consumer before its consume-ok.
        consume = method_frame(self.number, spec.Basic.Consume(queue=queue, consumer_tag=tag, nowait=True))
        # A channel's prefetch count applies to each consumer that is opened after it.
        qos = spec.Basic.Qos(0, min(prefetch, _LARGEST_PREFETCH), False)
        return tag, method_frame(self.number, qos) + consume

    def _queue_number(self, queue: str) -> int:
        number = self._queue_numbers.get(queue)
        if number is None:
            number = self._queue_numbers[queue] = len(self._queues)
            self._queues.append(queue)
        return number

    def _queue(self, tag: str) -> str:
        return self._queues[int(tag.partition(".")[2])]

    def _cancel(self, tag: str) -> bytes:
        return method_frame(self.number, spec.Basic.Cancel(consumer_tag=tag))

    def _await_end(self, tags: list[str]) -> None:
        seconds = self.connection.call_timeout_seconds
        if not self._await(lambda: self._consumers.isdisjoint(tags), seconds):
            self.connection.fail(Timeout(f"no answer within {seconds:g} seconds (call_timeout_seconds)"))
        self._check_open()

    def wait(self, clock: Clock, deadline: float, stopped: Callable[[], bool]) -> None:
        """Wait until a message has come or a consumer has ended, until ``deadline``, or until ``stopped()``."""

        def done() -> bool:
            return bool(self._arrived or self._cancelled) or stopped()

        while (seconds := deadline - clock.monotonic()) > 0 and not self._await(done, seconds, clock.wait):
            pass

    def _await(
        self,
        done: Callable[[], bool],
        seconds: float,
        sleep: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> bool:
        """Wait up to ``seconds`` until ``done()`` or the end of the channel; whether one of them is so."""

        def ended() -> bool:
            return self.error is not None or done()

        def doze(remaining: float) -> None:
            with self._changed:
                if not ended():
                    sleep(self._changed, remaining)

        return self.connection.wait(ended, doze, seconds)

    def take_arrived(self) -> list[RawDelivery]:
        """The messages that have come since the last call."""
        with self._changed:
            arrived, self._arrived = self._arrived, []
        return arrived

    def take_cancelled(self) -> list[str]:
        """The queues whose consumers RabbitMQ has ended since the last call."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
        return cancelled

    # Called by the thread that reads

    def on_method(self, method: spec.Basic.CancelOk | spec.Basic.Cancel | object) -> None:
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
        """See `Channel.on_content`. The caller of `receive` decodes a delivery, not the thread that reads."""
        payload = content.method
        if not isinstance(payload, bytes):
            super().on_content(content)
            return
        start = 5 + payload[4]
        tag, redelivered = _TAG.unpack_from(payload, start)
        self.unacked.add(tag)
        queue = self._queue(payload[5:start].decode())
        arrived = RawDelivery(queue, tag, bool(redelivered & 1), content.properties, content.body)
        with self._changed:
            if self._receiving:
                self._arrived.append(arrived)
                if len(self._arrived) == 1:  # a call waits for the first one only
                    self._changed.notify_all()
                return
        self.give_back([tag])


class Receiver:
    """Receives deliveries. One thread at a time in `receive`; other methods are thread-safe."""

    def __init__(
        self, manager: ConnectionManager, declarer: Declarer, clock: Clock, *, prefetch: int, quorum: bool
    ) -> None:
        self._manager, self._declarer, self._clock = manager, declarer, clock
        self._prefetch = prefetch
        self._quorum = quorum
        self._channel: ConsumerChannel | None = None
        self._closings = 0

    @property
    def channel(self) -> ConsumerChannel | None:
        """The channel by which the last deliveries came; it may be closed."""
        return self._channel

    def receive(self, queues: Sequence[str], limit: int, wait_seconds: float) -> list[Delivery]:
        """See `Broker.receive`."""
        limit = min(limit, self._prefetch) if self._prefetch else limit
        if limit <= 0 or not queues:
            return []
        closings = self._closings
        deadline = self._clock.monotonic() + wait_seconds
        for attempt in range(1, _CHANNEL_ATTEMPTS + 1):
            with errors_translated("receiving"):
                channel = self._open()
                try:
                    with channel.receiving():
                        return self._receive(channel, queues, limit, deadline, lambda: self._closings != closings)
                except exceptions.ConnectionClosedByClient:
                    break  # by `close`; RabbitMQ takes back what has come
                except exceptions.ChannelClosedByBroker as error:
                    if attempt == _CHANNEL_ATTEMPTS or not self._can_go_on(error, queues):
                        raise
        return []

    def _can_go_on(self, error: exceptions.ChannelClosedByBroker, queues: Sequence[str]) -> bool:
        """Whether a new channel helps; declares deleted queues again."""
        if error.reply_code == NOT_FOUND:
            names = self._declarer.topology.names
            self._declarer.again([name for queue in queues for name in names.queues(queue)])
            return True
        return error.reply_code == PRECONDITION_FAILED and "timed out" in error.reply_text

    def _receive(
        self,
        channel: ConsumerChannel,
        queues: Sequence[str],
        limit: int,
        deadline: float,
        stopped: Callable[[], bool],
    ) -> list[Delivery]:
        names = {name: queue for queue in queues for name in self._declarer.topology.names.queues(queue)}
        order = {name: position for position, name in enumerate(names)}
        self._declarer.task_queues(list(names))
        arrived: list[RawDelivery] = []
        try:
            if not stopped():
                self._fetch(channel, list(names), limit, arrived)
            while not arrived and not stopped() and self._clock.monotonic() < deadline:
                self._wait(channel, tuple(names), deadline, stopped, arrived)
        except BaseException:  # raised again: no caller gets what has arrived
            channel.give_back([each.tag for each in arrived])
            raise
        arrived.sort(key=lambda each: order.get(each.queue, len(order)))  # stable: keeps the order of each queue
        channel.give_back([each.tag for each in arrived[limit:]])
        return [self._delivery(channel, names, each) for each in arrived[:limit]]

    def _fetch(self, channel: ConsumerChannel, names: Sequence[str], limit: int, found: list[RawDelivery]) -> None:
        """Take what the queues have now, the most urgent queue first."""
        fetch = channel.fetch_from_quorum if self._quorum else channel.fetch
        enough = min(limit, _CLASSIC_BURST)
        for name in names:
            while len(found) < enough and (more := fetch(name, limit - len(found))):
                found += more
                if name == names[-1]:
                    break  # the caller can ask again for the rest of the least urgent queue

    def _wait(
        self,
        channel: ConsumerChannel,
        names: tuple[str, ...],
        deadline: float,
        stopped: Callable[[], bool],
        found: list[RawDelivery],
    ) -> None:
        """Wait for the first message of any queue; take it, and others that came at the same moment."""
        tags = channel.subscribe(names)
        channel.wait(self._clock, deadline, stopped)
        found += channel.take_arrived()
        if len(names) == 1 and len(found) == 1:
            channel.unsubscribe_later(tags[0])
        else:
            channel.unsubscribe(tags)
            if not found and self._quorum:
                channel.barrier()
            found += channel.take_arrived()
        if cancelled := channel.take_cancelled():
            logger.warning(
                "RabbitMQ has ended the consumers of %s (deleted?); declaring these queues again", ", ".join(cancelled)
            )
            self._declarer.again(cancelled)

    def _delivery(self, channel: ConsumerChannel, names: dict[str, str], arrived: RawDelivery) -> Delivery:
        decoded = decode_message(names.get(arrived.queue, arrived.queue), arrived.properties, arrived.body)
        deliveries = decoded.deliveries_before + (decoded.returns or 0) + 1
        return Delivery(
            message=decoded.message,
            receipt=(channel.generation, arrived.tag, deliveries),
            redelivered=arrived.redelivered or deliveries > 1,
            delivery_count=deliveries if self._quorum else None,
        )

    def _open(self) -> ConsumerChannel:
        channel = self._channel
        if channel is not None and channel.error is None:
            return channel
        if channel is not None and isinstance(channel.error, exceptions.ChannelClosedByBroker):
            logger.warning(
                "RabbitMQ closed the channel for receiving, and delivers its unacknowledged messages again: %s",
                channel.error.reply_text,
            )
        self._channel = self._manager.channel(ConsumerChannel)
        return self._channel

    def close(self) -> None:
        """Make a waiting `receive` return."""
        self._closings += 1
        channel = self._channel
        if channel is not None:
            channel.wake()
