"""Publishing: many messages in one write, one wait for all of their confirms, a verdict for each caller."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen
from pika import exceptions, spec

from drivetrain.contract import Clock, Message, PublishFailed, ServiceRefused, TooLarge
from drivetrain_amqp import ladder, wire
from drivetrain_amqp.channel import Channel, Content
from drivetrain_amqp.connection import Connection
from drivetrain_amqp.envelope import content_header, open_content, size
from drivetrain_amqp.errors import Timeout, translated
from drivetrain_amqp.link import Link, errors_translated, forget_declared

__all__ = ["Parcel", "Sender"]

#: How many messages are sent in one go where some of them are delayed.
_DELAYED_TOGETHER = 200
#: How often delays are reckoned: to declare the queues that they need takes time, and then they need others.
_RECKONED = 2


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
    _tags: dict[str, list[int]] | None = None

    def tags_of(self, message_id: str) -> Sequence[int]:
        """By which tags this message was published."""
        if self._tags is None:  # made for the first one that comes back, for then all of them may
            self._tags = {}
            for tag, parcel in enumerate(self.parcels, self.first_tag):
                self._tags.setdefault(parcel.message.id, []).append(tag)
        return self._tags.get(message_id, ())


class _Confirms(Channel):
    """A channel whose publishes are confirmed."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        self._next_tag = 1
        #: All before it are confirmed or refused.
        self._lowest_tag = 1
        #: By tag.
        self._waiting: dict[int, _Batch] = {}
        self.call_at_end(self._wake_all)

    def open(self) -> None:
        """See `Channel.open`."""
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
        tags = range(self._lowest_tag, tag + 1) if multiple else (tag,)
        if multiple:
            self._lowest_tag = tag + 1
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
        opened = open_content("", content.properties, content.body)
        for batch in {id(each): each for each in list(self._waiting.values())}.values():
            for tag in batch.tags_of(opened.message.id):
                if tag in self._waiting:
                    self._unroutable(batch, batch.parcels[tag - batch.first_tag], content.method)

    def _unroutable(self, batch: _Batch, parcel: Parcel, method: spec.Basic.Return) -> None:
        forget_declared(self.connection, [parcel.queue])
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
        together, now = len(parcels), self._clock.now()
        if any(each.due is not None and each.due > now for each in parcels):
            # Their delays are counted from when the server has them, which takes a while if they are many; and if it
            # takes so long that some are due meanwhile, those are still to come in their order.
            together = _DELAYED_TOGETHER
            parcels = sorted(parcels, key=lambda each: now if each.due is None else max(now, each.due))
        failures: dict[str, Exception] = {}
        for start in range(0, len(parcels), together):
            failures |= self._send(parcels[start : start + together])
        if failures:
            raise PublishFailed(failures) from next(iter(failures.values()))

    def _send(self, parcels: Sequence[Parcel]) -> Mapping[str, Exception]:
        """Publish in one go; the ids of what was refused, and why."""
        channel = self._open()
        self._declare(parcels)
        with errors_translated("publishing"):
            waits = self._waits(parcels)
            delayed = dict.fromkeys(each.queue for each in parcels if each.due is not None)
            data = b"".join((*self._ways(channel, delayed), *self._frames(channel, parcels, waits)))
            channel.connection.wait_unblocked()
            batch = channel.send(parcels, data)
            self._await(channel, batch)
        if batch.left:
            # What was declared may be gone, or another's: whoever publishes next finds out, and is told what is wrong.
            channel.connection.declared.clear()
            error = channel.error or exceptions.ChannelWrongStateError("closed")
            raise translated(error, "publishing, without knowing what was published") from error
        return batch.failures

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

    def _waits(self, parcels: Sequence[Parcel]) -> dict[float | None, int]:
        """How many ticks each ETA that lies ahead is away; what is needed for these delays is declared."""
        waits: dict[float | None, int] = {}
        for _ in range(_RECKONED):
            now = self._clock.now()
            late = {each.due: each.due - now for each in parcels if each.due is not None and each.due > now}
            waits = {due: ladder.ticks_in(seconds) for due, seconds in late.items()}
            queues = dict.fromkeys(each.queue for each in parcels if each.due in waits)
            if not waits or not self._link.declare_delays(queues, waits.values()):
                break
        return waits

    def _ways(self, channel: _Confirms, queues: Iterable[str]) -> Iterable[bytes]:
        """What declares these queues once more, before the messages that will come to them later.

        For such a message nobody tells us, as is told of others, that its queue has been deleted. There is no answer to
        wait for; if the server objects, it closes the channel.
        """
        for each in self._link.declared_ways(queues):
            yield wire.method(channel.number, each.method(answered=False))

    def _frames(
        self, channel: _Confirms, parcels: Sequence[Parcel], waits: Mapping[float | None, int]
    ) -> Iterable[bytes]:
        number, largest = channel.number, channel.connection.largest_frame_bytes
        names, topology = self._link.topology.names, self._link.topology
        heads: dict[tuple[str, int], bytes] = {}
        for parcel in parcels:
            if parcel.dead:
                yield wire.publish(number, "", parcel.queue)
            else:
                wait = waits.get(parcel.due, 0)
                head = heads.get((parcel.queue, wait))
                if head is None:
                    to = ladder.route(names, parcel.queue, wait) if wait else topology.route(parcel.queue)
                    head = heads[parcel.queue, wait] = wire.publish(number, *to)
                yield head
            yield from wire.body_frames(number, *content_header(parcel.message, parcel.handouts), largest)

    def _await(self, channel: _Confirms, batch: _Batch) -> None:
        """Wait for the confirms; time in which the server is blocked does not count."""
        waited, step = 0.0, min(1.0, self._call_timeout_seconds)
        while not channel.connection.wait(batch.done.is_set, batch.done.wait, step):
            if not channel.connection.blocked:
                waited += step
            if waited >= self._call_timeout_seconds:
                lost = Timeout(f"no confirm within {self._call_timeout_seconds:g} seconds (call_timeout_seconds)")
                channel.connection.fail(lost)
