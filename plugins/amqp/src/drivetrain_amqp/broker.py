"""The broker of ``amqp://``: what `drivetrain.contract.Broker` asks for, passed to the parts of the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.contract import (
    BrokerCapabilities,
    Clock,
    Delivery,
    Durability,
    Hold,
    Message,
    QueueSection,
    QueueSizes,
    mark_dead,
)
from drivetrain_amqp.admin import Admin
from drivetrain_amqp.connection_manager import ConnectionManager, Declarer
from drivetrain_amqp.delay_queues import LONGEST_DELAY_SECONDS
from drivetrain_amqp.options import Options
from drivetrain_amqp.publish import OutgoingMessage, Publisher
from drivetrain_amqp.receive import Receiver
from drivetrain_amqp.settle import Settler
from drivetrain_amqp.topology import Topology

__all__ = ["AmqpBroker"]

#: How late a delayed message may be: each delay queue adds about a millisecond, or a round of its quorum.
_LATE_SECONDS, _QUORUM_LATE_SECONDS = 0.1, 0.5


class AmqpBroker:
    """A broker on RabbitMQ. Thread-safe as `drivetrain.contract.Broker` says.

    It has two connections. RabbitMQ stops reading connections that publish when it is short of memory. Acknowledgements
    free memory, so they must not wait behind publishes.

    Args:
        options: the options of its URL.
        clock: the clock for due times and waits.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = _capabilities(options)
        self._clock = clock
        topology = Topology(options)
        self._names = topology.names
        self._publishing = ConnectionManager(options, "publish")
        self._receiving = ConnectionManager(options, "receive")
        self._publisher = Publisher(
            self._publishing,
            Declarer(self._publishing, topology, clock),
            clock,
            largest_message_bytes=options.largest_message_bytes,
            call_timeout_seconds=options.call_timeout_seconds,
        )
        declarer = Declarer(self._receiving, topology, clock)
        self._receiver = Receiver(self._receiving, declarer, clock, prefetch=options.prefetch, quorum=options.quorum)
        self._settler = Settler(self._receiving, lambda: self._receiver.channel)
        self._admin = Admin(self._receiving, declarer, self._publisher, options)

    def ping(self) -> None:
        """See `Broker.ping`."""
        with self._receiving.admin_channel("checking whether RabbitMQ answers") as channel:
            channel.barrier()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if messages:
            self._publisher.publish(messages)

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
            self._settler.settle(deliveries)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`. With a delay, the driver publishes a copy and acknowledges the original."""
        if not deliveries:
            return
        if not delay_seconds > 0:
            self._settler.settle(deliveries, requeue=True)
            return
        due = self._clock.now() + delay_seconds
        self._settler.replace([(each, self._delayed(each, due)) for each in deliveries], self._publisher.send)

    def _delayed(self, delivery: Delivery, due: float) -> OutgoingMessage:
        message = delivery.message
        name = self._names.queue_of(message.queue, message.priority)
        return OutgoingMessage(message, name, due, delivery.receipt[2])

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        if not letters:
            return
        at = self._clock.now()
        self._settler.replace([(each, self._dead(each, reason, at)) for each, reason in letters], self._publisher.send)

    def _dead(self, delivery: Delivery, reason: str, at: float) -> OutgoingMessage:
        message = mark_dead(delivery.message, reason, at)
        return OutgoingMessage(message, self._names.dead(message.queue), None, delivery.receipt[2], dead=True)

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:  # noqa: ARG002 - as above
        """See `Broker.extend`. A hold has no end to extend; the result says which deliveries are still held."""
        return self._settler.extend(deliveries) if deliveries else []

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        return {queue: self._admin.sizes(queue) for queue in queues}

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`; not declared."""
        return []

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`. Dead letters only: RabbitMQ marks a message that was shown as redelivered."""
        return self._admin.peek_dead(queue, limit) if section is QueueSection.DEAD else []

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`."""
        return self._admin.purge(queue, section)

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`."""
        return self._admin.replay(queue, message_ids)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._admin.drop_dead_letters(queue, message_ids)

    def close(self) -> None:
        """See `Broker.close`. The next call opens the connections again."""
        self._receiver.close()
        self._receiving.close()
        self._publishing.close()


def _capabilities(options: Options) -> BrokerCapabilities:
    return BrokerCapabilities(
        durability=Durability.POWER,
        hold=Hold.CONNECTION,
        longest_delay_seconds=LONGEST_DELAY_SECONDS,
        delay_resolution_seconds=_QUORUM_LATE_SECONDS if options.quorum else _LATE_SECONDS,
        largest_message_bytes=options.largest_message_bytes,
        priority_levels=options.priority_levels,
        ordered=True,
        longest_hold_seconds=options.consumer_timeout_seconds,
        counts_deliveries=options.quorum,
        settles_late=False,
    )
