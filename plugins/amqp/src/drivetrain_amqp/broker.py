"""The broker of ``amqp://``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    BrokerCapabilities,
    Clock,
    Delivery,
    Durability,
    Hold,
    Message,
    PublishFailed,
    QueueSection,
    QueueSizes,
    evolve,
)
from drivetrain_amqp import ladder
from drivetrain_amqp.link import Link
from drivetrain_amqp.looking import Looked, Looker
from drivetrain_amqp.management import Management
from drivetrain_amqp.names import token
from drivetrain_amqp.options import Options
from drivetrain_amqp.receiver import Receiver
from drivetrain_amqp.sender import Parcel, Sender
from drivetrain_amqp.topology import Topology

__all__ = ["AmqpBroker"]

#: How many dead letters are put back in one go.
_TOGETHER = 500
#: How late a delayed message may be: each step of the ladder takes about a millisecond, or a round of a quorum.
_LATE_SECONDS, _QUORUM_LATE_SECONDS = 0.1, 0.5
_ADDED = (DEAD_REASON_HEADER, DEAD_AT_HEADER)


class AmqpBroker:
    """A broker on RabbitMQ; see `drivetrain.contract.Broker`.

    It has two connections: RabbitMQ stops reading those that publish when it is short of memory, and acknowledgements,
    by which it gets some back, must not wait behind them.

    Args:
        options: of its URL.
        clock: tells when messages are due.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BrokerCapabilities(
            durability=Durability.POWER,
            hold=Hold.CONNECTION,
            longest_delay_seconds=ladder.LONGEST_DELAY_SECONDS,
            delay_resolution_seconds=_QUORUM_LATE_SECONDS if options.quorum else _LATE_SECONDS,
            largest_message_bytes=options.largest_message_bytes,
            priority_levels=options.levels,
            ordered=True,
            longest_hold_seconds=options.consumer_timeout_seconds,
            counts_deliveries=options.quorum,
            settles_late=False,
        )
        self._clock = clock
        self._quorum = options.quorum
        topology = Topology(options)
        self._names = topology.names
        self._sending, self._receiving = Link(options, topology, clock), Link(options, topology, clock)
        self._sender = Sender(
            self._sending,
            clock,
            largest_message_bytes=options.largest_message_bytes,
            call_timeout_seconds=options.call_timeout_seconds,
        )
        self._receiver = Receiver(self._receiving, clock, prefetch=options.prefetch, quorum=options.quorum)
        self._looker = Looker(self._receiving)
        self._management = Management(options) if options.management_url else None

    def ping(self) -> None:
        """See `Broker.ping`."""
        with self._receiving.admin("asking whether RabbitMQ is there") as channel:
            channel.barrier()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if messages:
            self._sender.publish(messages)

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_seconds: float,
        hold_seconds: float,  # noqa: ARG002 - a hold lasts as long as the connection
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        return self._receiver.receive(queues, limit, wait_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        if deliveries:
            self._receiver.settle(deliveries)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`. With a delay, what goes back is a copy."""
        if not deliveries:
            return
        if not delay_seconds > 0:
            self._receiver.settle(deliveries, requeue=True)
            return
        due = self._clock.now() + delay_seconds
        self._replace({id(each): self._parcel(each.message, each.receipt[2], due) for each in deliveries}, deliveries)

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        if not letters:
            return
        at = f"{self._clock.now():.6f}"
        buried = {id(each): self._buried(each, reason, at) for each, reason in letters}
        self._replace(buried, [each for each, _ in letters])

    def _buried(self, delivery: Delivery, reason: str, at: str) -> Parcel:
        message = delivery.message
        headers = {**message.headers, DEAD_REASON_HEADER: reason, DEAD_AT_HEADER: at}
        return Parcel(
            evolve(message, headers=headers), self._names.dead(message.queue), None, delivery.receipt[2], True
        )

    def _parcel(self, message: Message, handouts: int, due: float | None = None) -> Parcel:
        return Parcel(message, self._names.queue_of(message.queue, message.priority), due, handouts)

    def _replace(self, parcels: Mapping[int, Parcel], deliveries: Sequence[Delivery]) -> None:
        """Publish something in the place of deliveries, and then acknowledge them."""

        def send(held: Sequence[Delivery]) -> dict[str, Exception]:
            try:
                self._sender.send([parcels[id(each)] for each in held])
            except PublishFailed as error:
                refused.append(error)
                return error.failures
            return {}

        refused: list[PublishFailed] = []
        self._receiver.replace(deliveries, send)
        if refused:
            raise refused[0]

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:  # noqa: ARG002 - as above
        """See `Broker.extend`. It has nothing to prolong, and tells what is still held."""
        return self._receiver.extend(deliveries) if deliveries else []

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`. RabbitMQ does not tell for whom messages wait that are delayed."""
        return {queue: self._sizes(queue) for queue in queues}

    def _sizes(self, queue: str) -> QueueSizes:
        names = self._names.queues(queue)
        ready = sum(self._looker.ready(name) for name in names)
        held = None if self._management is None else sum(self._management.held(name) for name in names)
        return QueueSizes(ready=ready, delayed=None, held=held, dead=self._looker.ready(self._names.dead(queue)))

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`: not told."""
        return []

    def peek(self, queue: str, place: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`: the dead only, for RabbitMQ marks what was looked at as delivered."""
        name = self._names.dead(queue)
        if place is not QueueSection.DEAD or limit <= 0 or not self._looker.there(name):
            return []
        with self._looker.taking(name, "peeking") as taking:
            # A quorum queue puts what it is given back behind what it was given back before: so all, in their order.
            shown = list(taking.all())[:limit] if self._quorum else taking.some(limit)
            return [evolve(each.opened.message, queue=queue) for each in shown]

    def purge(self, queue: str, place: QueueSection) -> int:
        """See `Broker.purge`. What is delayed is looked for among the delayed messages of all queues."""
        if place is QueueSection.DEAD:
            return self._looker.purge(self._names.dead(queue))
        if place is QueueSection.READY:
            return sum(self._looker.purge(name) for name in self._names.queues(queue))
        return self._purge_delayed(queue)

    def _purge_delayed(self, queue: str) -> int:
        dropped = 0
        with self._looker.alone(self._names.delay):
            # From the bottom, level by level: messages only ever climb up, so that none gets by.
            for level in range(ladder.LEVELS):
                if not self._looker.exchange_there(self._names.climbed(level + 1)):
                    break  # no delay has had so many digits
                rungs = [self._names.rung(level, each.digit) for each in ladder.rungs_of(level)]
                dropped += sum(self._purge_rung(queue, rung) for rung in self._looker.occupied(rungs))
        return dropped

    def _purge_rung(self, queue: str, rung: str) -> int:
        waiting = {token(name) for name in self._names.queues(queue)}
        with self._looker.taking(rung, "purging what is delayed") as taking:
            found = [each for each in taking.all() if each.key.partition(".")[0] in waiting]
            taking.drop(found)
        return len(found)

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`."""
        return self._take_dead(
            queue, message_ids, lambda chosen: self._sender.send([self._revived(queue, each) for each in chosen])
        )

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._take_dead(queue, message_ids, lambda _: None)

    def _take_dead(
        self, queue: str, message_ids: Sequence[str] | None, first: Callable[[Sequence[Looked]], None]
    ) -> int:
        """Take dead letters of these ids (None: all) out of their queue, after ``first`` was done with them."""
        name = self._names.dead(queue)
        if (message_ids is not None and not message_ids) or not self._looker.there(name):
            return 0
        wanted = None if message_ids is None else set(message_ids)
        taken = 0
        with self._looker.taking(name, "taking dead letters") as taking:
            left = self._looker.ready(name)
            while left > 0 and (some := taking.some(min(left, _TOGETHER))):
                left -= len(some)
                chosen = [each for each in some if wanted is None or each.opened.message.id in wanted]
                if chosen:
                    first(chosen)
                    taking.drop(chosen)
                taken += len(chosen)
        return taken

    def _revived(self, queue: str, looked: Looked) -> Parcel:
        message = looked.opened.message
        headers = {name: text for name, text in message.headers.items() if name not in _ADDED}
        return self._parcel(evolve(message, queue=queue, headers=headers), looked.opened.handouts)

    def close(self) -> None:
        """See `Broker.close`. The object may be used again afterwards."""
        self._receiver.close()
        self._receiving.close()
        self._sending.close()
