"""Receiving without hoarding, and settling.

A message that a consumer has in a buffer is one that nobody else gets, and that counts as delivered. So nothing is
taken that was not asked for: a call opens a consumer for as many messages as it may return, takes what comes, and ends
the consumer. Only when there is nothing does it leave consumers open, each for one message, until the first one comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pika import exceptions

from drivetrain.contract import Clock, Delivery
from drivetrain_amqp.consuming import Arrived, Consuming
from drivetrain_amqp.envelope import open_content
from drivetrain_amqp.link import Link, errors_translated

__all__ = ["Receiver"]

logger = logging.getLogger("drivetrain.amqp")

#: A classic queue sends a consumer that has just come so many messages before it waits for the network.
_AT_ONCE = 200
#: How often one `receive` opens a new channel in place of one that the server has closed.
_MENDS = 3
_NOT_FOUND, _PRECONDITION_FAILED = 404, 406


class Receiver:
    """Receives and settles. Thread-safe, but for one thread at a time in `receive`."""

    def __init__(self, link: Link, clock: Clock, *, prefetch: int, quorum: bool) -> None:
        self._link = link
        self._clock = clock
        self._prefetch = prefetch
        self._quorum = quorum
        self._channel: Consuming | None = None
        self._closings = 0

    # Receiving

    def receive(self, queues: Sequence[str], limit: int, wait_seconds: float) -> list[Delivery]:
        """See `Broker.receive`."""
        limit = min(limit, self._prefetch) if self._prefetch else limit
        if limit <= 0 or not queues:
            return []
        closings = self._closings
        deadline = self._clock.monotonic() + wait_seconds
        for tried in range(1, _MENDS + 1):
            with errors_translated("receiving"):
                channel = self._open()
                try:
                    with channel.receiving():
                        return self._receive(channel, queues, limit, deadline, lambda: self._closings != closings)
                except exceptions.ConnectionClosedByClient:
                    break  # by `close`; what it has taken goes back
                except exceptions.ChannelClosedByBroker as error:
                    if tried == _MENDS or not self._mended(error, queues):
                        raise
        return []

    def _mended(self, error: exceptions.ChannelClosedByBroker, queues: Sequence[str]) -> bool:
        """Whether a new channel will do."""
        if error.reply_code == _NOT_FOUND:
            self._link.declare_again([name for queue in queues for name in self._link.topology.names.queues(queue)])
        elif error.reply_code != _PRECONDITION_FAILED or "timed out" not in error.reply_text:
            return False
        return True

    def _receive(
        self, channel: Consuming, queues: Sequence[str], limit: int, deadline: float, stopped: Callable[[], bool]
    ) -> list[Delivery]:
        names = {name: queue for queue in queues for name in self._link.topology.names.queues(queue)}
        places = {name: place for place, name in enumerate(names)}
        self._link.declare_task_queues(list(names))
        arrived: list[Arrived] = []
        try:
            if not stopped():
                self._fetch(channel, list(names), limit, arrived)
            while not arrived and not stopped() and self._clock.monotonic() < deadline:
                self._wait(channel, tuple(names), deadline, stopped, arrived)
        except BaseException:
            channel.give_back(arrived)  # nobody will ever hear of them
            raise
        arrived.sort(key=lambda each: places.get(each.queue, len(places)))  # keeps the order within each queue
        channel.give_back(arrived[limit:])
        return [self._delivery(channel, names, each) for each in arrived[:limit]]

    def _fetch(self, channel: Consuming, names: Sequence[str], limit: int, found: list[Arrived]) -> None:
        """Find what lies in the queues now, in the first one first. If there is more, it is had by asking again."""
        fetch = channel.fetch_from_quorum if self._quorum else channel.fetch
        enough = min(limit, _AT_ONCE)
        for name in names:
            while len(found) < enough and (more := fetch(name, limit - len(found))):
                found += more
                if name == names[-1]:
                    break  # nothing less urgent comes after it

    def _wait(
        self,
        channel: Consuming,
        names: tuple[str, ...],
        deadline: float,
        stopped: Callable[[], bool],
        found: list[Arrived],
    ) -> None:
        """Wait for the first message of any queue, and find it and those that came at the same moment."""
        tags = channel.subscribe(names)
        channel.wait(self._clock, deadline, stopped)
        found += channel.taken()
        if len(names) == 1 and len(found) == 1:
            channel.unsubscribe_later(tags[0])
        else:
            channel.unsubscribe(tags)
            if not found and self._quorum:
                channel.barrier()
            found += channel.taken()
        if cancelled := channel.cancelled():
            logger.warning("RabbitMQ has ended the consumers of %s: were these queues deleted?", ", ".join(cancelled))
            self._link.declare_again(cancelled)

    def _delivery(self, channel: Consuming, names: dict[str, str], arrived: Arrived) -> Delivery:
        opened = open_content(names.get(arrived.queue, arrived.queue), arrived.properties, arrived.body)
        handouts = opened.handouts + (opened.returns or 0) + 1
        return Delivery(
            message=opened.message,
            receipt=(channel.generation, arrived.tag, handouts),
            redelivered=arrived.redelivered or handouts > 1,
            delivery_count=handouts if self._quorum else None,
        )

    # Settling

    def settle(self, deliveries: Sequence[Delivery], *, requeue: bool = False) -> None:
        """Acknowledge what is still held, or give it back."""
        with errors_translated("releasing" if requeue else "acknowledging"):
            channel, tags = self._held(deliveries)
            if channel is not None:
                channel.settle(tags, requeue=requeue)

    def replace(
        self, deliveries: Sequence[Delivery], send: Callable[[Sequence[Delivery]], dict[str, Exception]]
    ) -> None:
        """Acknowledge what is still held after ``send`` has published something in its place.

        Args:
            deliveries: what is to be settled.
            send: publishes; tells the ids of those that could not be.
        """
        with errors_translated("settling"):
            channel, tags = self._held(deliveries)
            if channel is None:
                return
            claimed = channel.claim(tags)
            mine = {each.receipt[1]: each for each in deliveries if each.receipt[0] == channel.generation}
            done: list[int] = []
            try:
                failed = send([mine[tag] for tag in claimed]) if claimed else {}
                done = [tag for tag in claimed if mine[tag].message.id not in failed]
            finally:
                sent = set(done)
                channel.unclaim([tag for tag in claimed if tag not in sent])
            channel.finish(done)

    def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """For each, whether it is still held."""
        with errors_translated("extending"):
            channel, _ = self._held(deliveries)
            if channel is None:
                return [False] * len(deliveries)
            channel.barrier()  # nothing is known of a connection that is silently gone
            return [
                each.receipt[0] == channel.generation and channel.holds.holds(each.receipt[1]) for each in deliveries
            ]

    def _held(self, deliveries: Sequence[Delivery]) -> tuple[Consuming | None, list[int]]:
        """The channel that is open, and the tags of those that came by it: others' holds have ended with theirs."""
        self._link.connection()
        channel = self._channel
        if channel is None or channel.error is not None:
            return None, []
        return channel, [each.receipt[1] for each in deliveries if each.receipt[0] == channel.generation]

    # Life

    def _open(self) -> Consuming:
        channel = self._channel
        if channel is not None and channel.error is None:
            return channel
        if channel is not None and isinstance(channel.error, exceptions.ChannelClosedByBroker):
            logger.warning(
                "RabbitMQ has closed the channel of the messages that this process held, and delivers them again: %s",
                channel.error.reply_text,
            )
        self._channel = self._link.channel(Consuming)
        return self._channel

    def close(self) -> None:
        """Wake a `receive` that waits."""
        self._closings += 1
        channel = self._channel
        if channel is not None:
            channel.wake()
