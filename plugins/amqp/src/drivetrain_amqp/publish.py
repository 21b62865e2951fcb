"""Publishing: many messages in one write, one wait for all confirms, and a result for each caller and message."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen
from pika import exceptions, spec

from drivetrain.contract import Clock, Message, PublishFailed, ServiceRefused, check_message_size
from drivetrain_amqp import delay_queues
from drivetrain_amqp.codec import decode_message, encode_message
from drivetrain_amqp.connection import Channel, Connection
from drivetrain_amqp.connection_manager import ConnectionManager, Declarer, errors_translated, forget_declared
from drivetrain_amqp.errors import Timeout, translated
from drivetrain_amqp.protocol.frames import Content, content_frames, method_frame, publish_frame

__all__ = ["OutgoingMessage", "Publisher"]

#: How many messages go out in one write where some of them are delayed.
_DELAYED_TOGETHER = 200
#: How often delays are computed: declaring their queues takes time, after which they need other queues.
_DELAY_COMPUTATIONS = 2


@frozen
class OutgoingMessage:
    """A message to publish, and where to."""

    message: Message
    #: RabbitMQ's name for the queue.
    queue: str
    #: When it is to arrive there (Unix seconds); None, or a time in the past: at once.
    due: float | None = None
    #: How often it was delivered before.
    deliveries_before: int = 0
    #: Whether the queue is one of dead letters.
    dead: bool = False


@define(eq=False)
class _Batch:
    """The messages of one write, and their confirms so far."""

    messages: Sequence[OutgoingMessage]
    first_tag: int
    unconfirmed: int
    failures: dict[str, Exception] = field(factory=dict)
    done: threading.Event = field(factory=threading.Event)
    _tags: dict[str, list[int]] | None = None

    def tags_of(self, message_id: str) -> Sequence[int]:
        """The tags under which this message was published."""
        if self._tags is None:  # made when the first message is returned: then all of them may be
            self._tags = {}
            for tag, outgoing in enumerate(self.messages, self.first_tag):
                self._tags.setdefault(outgoing.message.id, []).append(tag)
        return self._tags.get(message_id, ())


class _ConfirmChannel(Channel):
    """A channel in confirm mode."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self._next_tag = 1
        #: RabbitMQ has confirmed or refused all tags below it.
        self._lowest_tag = 1
        #: By tag, what is not yet confirmed.
        self._waiting: dict[int, _Batch] = {}
        self.call_at_end(self._wake_all)

    def open(self) -> None:
        """See `Channel.open`."""
        self.request(spec.Confirm.Select())

    def publish(self, messages: Sequence[OutgoingMessage], data: bytes) -> _Batch:
        """Send the encoded messages; the batch is done when RabbitMQ has confirmed or refused each of them."""
        with self._lock:
            first = self._next_tag
            batch = _Batch(messages, first, len(messages))
            self._next_tag += len(messages)
            self._waiting.update(dict.fromkeys(range(first, self._next_tag), batch))
            self.write(data)
        return batch

    def on_ack(self, tag: int, multiple: bool, refused: bool) -> None:
        """See `Channel.on_ack`."""
        tags = range(self._lowest_tag, tag + 1) if multiple else (tag,)
        if multiple:
            self._lowest_tag = tag + 1
        for each in tags:
            batch = self._waiting.pop(each, None)
            if batch is not None:
                if refused:
                    self._add_refused(batch, batch.messages[each - batch.first_tag])
                batch.unconfirmed -= 1
                if batch.unconfirmed == 0:
                    batch.done.set()

    def _add_refused(self, batch: _Batch, outgoing: OutgoingMessage) -> None:
        ours = ServiceRefused(
            f"RabbitMQ refused message {outgoing.message.id} for queue {outgoing.message.queue!r}: the queue is full "
            "(x-max-length with reject-publish), or could not store it"
        )
        ours.__cause__ = exceptions.NackError([])
        batch.failures.setdefault(outgoing.message.id, ours)

    def on_content(self, content: Content) -> None:
        """Take a returned message: RabbitMQ could not route it, and confirms it next."""
        message_id = decode_message("", content.properties, content.body).message.id
        for batch in {id(each): each for each in list(self._waiting.values())}.values():
            for tag in batch.tags_of(message_id):
                if tag in self._waiting:
                    self._add_unroutable(batch, batch.messages[tag - batch.first_tag], content.method)

    def _add_unroutable(self, batch: _Batch, outgoing: OutgoingMessage, method: spec.Basic.Return) -> None:
        forget_declared(self.connection, [outgoing.queue])
        ours = ServiceRefused(
            f"message {outgoing.message.id} reaches no queue: RabbitMQ answered {method.reply_text} for exchange "
            f"{method.exchange!r} and key {method.routing_key!r}; somebody has deleted the queue. Publish again: the "
            "driver declares the queue again first"
        )
        ours.__cause__ = exceptions.UnroutableError([])
        batch.failures.setdefault(outgoing.message.id, ours)

    def _wake_all(self) -> None:
        for batch in list(self._waiting.values()):
            batch.done.set()


class Publisher:
    """Publishes with confirms. Thread-safe: callers share a channel, and each waits for its own messages only."""

    def __init__(
        self,
        manager: ConnectionManager,
        declarer: Declarer,
        clock: Clock,
        *,
        largest_message_bytes: int,
        call_timeout_seconds: float,
    ) -> None:
        self._manager, self._declarer, self._clock = manager, declarer, clock
        self._largest_message_bytes = largest_message_bytes
        self._call_timeout_seconds = call_timeout_seconds
        self._channel: _ConfirmChannel | None = None
        self._lock = threading.Lock()

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages to their queues.

        Raises:
            ServiceError: as `Broker.publish`.
        """
        names = self._declarer.topology.names
        self.send([OutgoingMessage(each, names.queue_of(each.queue, each.priority), each.eta) for each in messages])

    def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish, and return when RabbitMQ has confirmed every message.

        Raises:
            ServiceError: as `Broker.publish`.
        """
        self._check(messages)
        together, now = len(messages), self._clock.now()
        if any(each.due is not None and each.due > now for each in messages):
            # A delay starts when RabbitMQ has the message, and sending many takes a while: so smaller writes. Messages
            # that become due meanwhile must still arrive in the order of their times.
            together = _DELAYED_TOGETHER
            messages = sorted(messages, key=lambda each: now if each.due is None else max(now, each.due))
        failures: dict[str, Exception] = {}
        for start in range(0, len(messages), together):
            failures |= self._send(messages[start : start + together])
        if failures:
            raise PublishFailed(failures) from next(iter(failures.values()))

    def _send(self, messages: Sequence[OutgoingMessage]) -> Mapping[str, Exception]:
        """Publish in one write; the failures by message id."""
        channel = self._open()
        self._declare(messages)
        with errors_translated("publishing"):
            ticks = self._delays(messages)
            delayed = dict.fromkeys(each.queue for each in messages if each.due is not None)
            data = b"".join((*self._redeclarations(channel, delayed), *self._message_frames(channel, messages, ticks)))
            channel.connection.wait_unblocked()
            batch = channel.publish(messages, data)
            self._await_confirms(channel, batch)
        if batch.unconfirmed:
            # A declared queue may be gone, or another's: the next publish declares again, and gets a precise error.
            channel.connection.declared.clear()
            error = channel.error or exceptions.ChannelWrongStateError("closed")
            raise translated(error, "publishing, with no confirm for some messages") from error
        return batch.failures

    def _check(self, messages: Iterable[OutgoingMessage]) -> None:
        limit, latest = self._largest_message_bytes, self._clock.now() + delay_queues.LONGEST_DELAY_SECONDS
        for outgoing in messages:
            message = outgoing.message
            if not outgoing.dead:  # a dead letter also carries a reason, for which RabbitMQ has room
                check_message_size(message, limit)
            if outgoing.due is not None and outgoing.due > latest:
                raise ServiceRefused(
                    f"message {message.id[:100]} has a delay above the longest of RabbitMQ, "
                    f"{delay_queues.LONGEST_DELAY_SECONDS:.0f} seconds; publish it later"
                )

    def _open(self) -> _ConfirmChannel:
        channel = self._channel
        if channel is not None and channel.error is None:
            return channel
        with self._lock:
            if self._channel is None or self._channel.error is not None:
                self._channel = self._manager.channel(_ConfirmChannel)
            return self._channel

    def _declare(self, messages: Sequence[OutgoingMessage]) -> None:
        queues = dict.fromkeys(each.queue for each in messages if not each.dead)
        self._declarer.task_queues(list(queues))
        for dead in dict.fromkeys(each.queue for each in messages if each.dead):
            self._declarer.dead_queue(dead)

    def _delays(self, messages: Sequence[OutgoingMessage]) -> dict[float | None, int]:
        """The delay in ticks for each due time in the future, after declaring what these delays need."""
        ticks: dict[float | None, int] = {}
        for _ in range(_DELAY_COMPUTATIONS):
            now = self._clock.now()
            seconds = {each.due: each.due - now for each in messages if each.due is not None and each.due > now}
            ticks = {due: delay_queues.ticks_in(delay) for due, delay in seconds.items()}
            queues = dict.fromkeys(each.queue for each in messages if each.due in ticks)
            if not ticks or not self._declarer.delays(queues, ticks.values()):
                break
        return ticks

    def _redeclarations(self, channel: _ConfirmChannel, queues: Iterable[str]) -> Iterable[bytes]:
        """Frames that declare these queues again before the delayed messages for them.

        RabbitMQ does not report that the queue of a delayed message has been deleted. These frames have no reply; if
        RabbitMQ refuses one, it closes the channel.
        """
        for each in self._declarer.declared_routes(queues):
            yield method_frame(channel.number, each.method(answered=False))

    def _message_frames(
        self, channel: _ConfirmChannel, messages: Sequence[OutgoingMessage], ticks: Mapping[float | None, int]
    ) -> Iterable[bytes]:
        number, max_frame_bytes = channel.number, channel.connection.max_frame_bytes
        topology = self._declarer.topology
        publish_frames: dict[tuple[str, int], bytes] = {}
        for outgoing in messages:
            if outgoing.dead:
                yield publish_frame(number, "", outgoing.queue)
            else:
                delay = ticks.get(outgoing.due, 0)
                first = publish_frames.get((outgoing.queue, delay))
                if first is None:
                    to = topology.route(outgoing.queue)
                    if delay:
                        to = delay_queues.route(topology.names, outgoing.queue, delay)
                    first = publish_frames[outgoing.queue, delay] = publish_frame(number, *to)
                yield first
            properties, body = encode_message(outgoing.message, outgoing.deliveries_before)
            yield from content_frames(number, properties, body, max_frame_bytes)

    def _await_confirms(self, channel: _ConfirmChannel, batch: _Batch) -> None:
        """Wait for the confirms. Time in which RabbitMQ blocks publishers does not count."""
        waited, step = 0.0, min(1.0, self._call_timeout_seconds)
        while not channel.connection.wait(batch.done.is_set, batch.done.wait, step):
            if not channel.connection.blocked:
                waited += step
            if waited >= self._call_timeout_seconds:
                lost = Timeout(f"no confirm within {self._call_timeout_seconds:g} seconds (call_timeout_seconds)")
                channel.connection.fail(lost)
