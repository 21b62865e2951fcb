"""Publishing: many messages in one write, one wait for all of their confirms, a verdict for each caller."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen
from pika import exceptions, spec

from drivetrain.contract import Clock, Message, PublishFailed, ServiceRefused, TooLarge
from drivetrain_amqp import ladder, wire
from drivetrain_amqp.channel import Channel, Content
from drivetrain_amqp.connection import Connection
from drivetrain_amqp.envelope import content_header, open_content, size
from drivetrain_amqp.errors import Timeout, translated
from drivetrain_amqp.link import Link, errors_translated

__all__ = ["Parcel", "Sender"]


@frozen
class Parcel:
    """A message, and where it goes."""

    message: Message
    #: RabbitMQ's name for the queue.
    queue: str
    #: When it is to arrive there (Unix seconds); None, or a time in the past: at once.
    due: float | None = None
    #: How often it was handed out before.
    handouts: int = 0
    #: Whether it goes to dead letters.
    dead: bool = False


@define(eq=False)
class _Batch:
    """What one caller waits for."""

    parcels: Sequence[Parcel]
    first_tag: int
    left: int
    failures: dict[str, Exception] = field(factory=dict)
    done: threading.Event = field(factory=threading.Event)


class _Confirms(Channel):
    """A channel whose publishes are confirmed."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self._next_tag = 1
        #: By tag, in the order of publication.
        self._waiting: dict[int, _Batch] = {}
        self.call_at_end(self._wake_all)

    def open(self) -> None:
        super().open()
        self.ask(spec.Confirm.Select())

    def send(self, parcels: Sequence[Parcel], data: bytes) -> _Batch:
        """Send what is encoded; what is returned tells when all of it is confirmed or refused."""
        with self._lock:
            first = self._next_tag
            batch = _Batch(parcels, first, len(parcels))
            self._next_tag += len(parcels)
            self._waiting.update(dict.fromkeys(range(first, self._next_tag), batch))
            self.write(data)
        return batch

    def on_ack(self, tag: int, multiple: bool, refused: bool) -> None:
        """See `Channel.on_ack`."""
        tags = [tag]
        if multiple:
            tags = []
            for each in list(self._waiting):
                if each > tag:
                    break
                tags.append(each)
        for each in tags:
            batch = self._waiting.pop(each, None)
            if batch is not None:
                if refused:
                    self._refuse(batch, batch.parcels[each - batch.first_tag])
                batch.left -= 1
                if batch.left == 0:
                    batch.done.set()

    def _refuse(self, batch: _Batch, parcel: Parcel) -> None:
        error = exceptions.NackError([])
        ours = ServiceRefused(
            f"RabbitMQ refused message {parcel.message.id} for queue {parcel.message.queue!r}: the queue is full "
            "(x-max-length with reject-publish), or could not keep it"
        )
        ours.__cause__ = error
        batch.failures.setdefault(parcel.message.id, ours)

    def on_content(self, content: Content) -> None:
        """A message that cannot be routed comes back, just before it is confirmed."""
        method = content.method
        opened = open_content("", content.properties, content.body)
        for batch in {id(each): each for each in list(self._waiting.values())}.values():
            for parcel in batch.parcels:
                if parcel.message.id == opened.message.id:
                    self._unroutable(batch, parcel, method)

    def _unroutable(self, batch: _Batch, parcel: Parcel, method: spec.Basic.Return) -> None:
        self.connection.declared.discard(parcel.queue)
        ours = ServiceRefused(
            f"message {parcel.message.id} reaches no queue: RabbitMQ said {method.reply_text} for exchange "
            f"{method.exchange!r} and key {method.routing_key!r}; the queue was deleted meanwhile, and is declared "
            "again at the next publish"
        )
        ours.__cause__ = exceptions.UnroutableError([])
        batch.failures.setdefault(parcel.message.id, ours)

    def _wake_all(self) -> None:
        for batch in list(self._waiting.values()):
            batch.done.set()


class Sender:
    """Publishes. Thread-safe: many callers share a channel, and wait for their own messages only."""

    def __init__(self, link: Link, clock: Clock, *, largest_message_bytes: int, call_timeout_seconds: float) -> None:
        self._link = link
        self._clock = clock
        self._largest_message_bytes = largest_message_bytes
        self._call_timeout_seconds = call_timeout_seconds
        self._channel: _Confirms | None = None
        self._lock = threading.Lock()

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages to their queues.

        Raises:
            ServiceError: as `Broker.publish`.
        """
        names = self._link.topology.names
        self.send([Parcel(each, names.queue_of(each.queue, each.priority), each.eta) for each in messages])

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Publish, and return when RabbitMQ has all of it.

        Raises:
            ServiceError: as `Broker.publish`.
        """
        self._check(parcels)
        channel = self._open()
        self._declare(parcels)
        with errors_translated("publishing"):
            data = b"".join(self._frames(channel, parcels))
            channel.connection.wait_unblocked()
            batch = channel.send(parcels, data)
            self._await(channel, batch)
        if batch.left:
            error = channel.error or exceptions.ChannelWrongStateError("closed")
            raise translated(error, "publishing, without knowing what was published") from error
        if batch.failures:
            raise PublishFailed(batch.failures) from next(iter(batch.failures.values()))

    def _check(self, parcels: Iterable[Parcel]) -> None:
        limit, latest = self._largest_message_bytes, self._clock.now() + ladder.LONGEST_DELAY_SECONDS
        for parcel in parcels:
            message = parcel.message
            # Dead letters carry a reason besides, for which there is room.
            if not parcel.dead and (length := size(message)) > limit:
                raise TooLarge(f"message {message.id[:100]}", length, limit)
            if parcel.due is not None and parcel.due > latest:
                raise ServiceRefused(
                    f"message {message.id[:100]} is to wait longer than {ladder.LONGEST_DELAY_SECONDS:.0f} seconds"
                )

    def _open(self) -> _Confirms:
        channel = self._channel
        if channel is not None and channel.error is None:
            return channel
        with self._lock:
            if self._channel is None or self._channel.error is not None:
                self._channel = self._link.channel(_Confirms)
            return self._channel

    def _declare(self, parcels: Sequence[Parcel]) -> None:
        queues = dict.fromkeys(each.queue for each in parcels if not each.dead)
        self._link.declare_task_queues(list(queues))
        for dead in dict.fromkeys(each.queue for each in parcels if each.dead):
            self._link.declare_dead_queue(dead)
        now = self._clock.now()
        delayed = {each.queue: None for each in parcels if each.due is not None and each.due > now}
        if delayed:
            longest = max(each.due for each in parcels if each.due is not None)
            self._link.declare_delays(list(delayed), ladder.levels_for(ladder.delay_milliseconds(longest - now)))

    def _frames(self, channel: _Confirms, parcels: Sequence[Parcel]) -> Iterable[bytes]:
        number, largest = channel.number, channel.connection.largest_frame_bytes
        heads: dict[str, bytes] = {}
        now = self._clock.now()
        for parcel in parcels:
            if parcel.dead:
                yield wire.publish(number, "", parcel.queue)
            elif parcel.due is not None and parcel.due > now:
                wait = ladder.delay_milliseconds(parcel.due - now)
                yield wire.publish(number, *ladder.route(self._link.topology.names, parcel.queue, wait))
            else:
                head = heads.get(parcel.queue)
                if head is None:
                    head = heads[parcel.queue] = wire.publish(number, *self._link.topology.route(parcel.queue))
                yield head
            yield from wire.body_frames(number, *content_header(parcel.message, parcel.handouts), largest)

    def _await(self, channel: _Confirms, batch: _Batch) -> None:
        """Wait for the confirms; time in which the server is blocked does not count."""
        waited, step = 0.0, min(1.0, self._call_timeout_seconds)
        while not batch.done.wait(step):
            if not channel.connection.blocked:
                waited += step
            if waited >= self._call_timeout_seconds:
                lost = Timeout(f"no confirm within {self._call_timeout_seconds:g} seconds (call_timeout_seconds)")
                channel.connection.fail(lost)
