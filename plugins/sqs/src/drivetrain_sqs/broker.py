"""The broker of ``sqs://``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivetrain.contract import (
    BrokerCapabilities,
    Clock,
    Delivery,
    Durability,
    Message,
    NotSupported,
    QueueSection,
    QueueSizes,
)
from drivetrain_sqs.clients import Clients, connect
from drivetrain_sqs.letters import Letters
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS, LONGEST_HOLD_SECONDS
from drivetrain_sqs.opening import Opener
from drivetrain_sqs.options import Options
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receiving import Receiver
from drivetrain_sqs.sending import Sender
from drivetrain_sqs.service import Service
from drivetrain_sqs.settling import Settler

__all__ = ["SqsBroker"]

#: A worker that is told to stop waits so long for its `receive`. Polls wait longer, and go on from one to the next.
_RECEIVE_WAIT_SECONDS = 1.0


class SqsBroker:
    """A broker on Amazon SQS; see `drivetrain.contract.Broker`.

    Args:
        options: of its URL.
        clock: tells when messages are due and until when holds are sure.
        connect: makes clients; for tests that stand between.
    """

    def __init__(self, options: Options, clock: Clock, connect: Callable[[Options], Clients] = connect) -> None:
        self.capabilities = BrokerCapabilities(
            durability=Durability.POWER,
            longest_delay_seconds=float(LONGEST_DELAY_SECONDS),
            delay_resolution_seconds=0.25,
            largest_message_bytes=options.largest_message_bytes,
            longest_hold_seconds=float(LONGEST_HOLD_SECONDS),
            counts_deliveries=True,
            exact_sizes=False,
            settles_late=False,
            receive_wait_seconds=_RECEIVE_WAIT_SECONDS,
        )
        self._service = Service(options, connect)
        self._queues = Queues(self._service, options)
        self._sender = Sender(self._service, self._queues, clock, options)
        self._settler = Settler(self._service, self._sender, clock, fifo=options.fifo)
        opener = Opener(self._sender, self._settler, clock)
        self._receiver = Receiver(
            service=self._service,
            queues=self._queues,
            opener=opener,
            settler=self._settler,
            clock=clock,
            options=options,
        )
        self._letters = Letters(
            service=self._service,
            queues=self._queues,
            sender=self._sender,
            settler=self._settler,
            clock=clock,
            options=options,
        )

    def ping(self) -> None:
        """See `Broker.ping`. Needs the permission ``sqs:GetQueueUrl`` for every queue of the namespace."""
        self._queues.reach()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if messages:
            self._sender.publish(messages)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        return self._receiver.receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        self._settler.delete(self._settler.open(deliveries))

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        self._settler.release(self._settler.open(deliveries), delay_seconds)

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`. A crash in the midst of it leaves a message in both places."""
        reasons = {id(delivery.receipt): reason for delivery, reason in letters}
        receipts = self._settler.open(delivery for delivery, _ in letters)
        self._settler.bury([(receipt, reasons[id(receipt)]) for receipt in receipts])

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        held = self._settler.open(deliveries)
        self._settler.extend(held, hold_seconds)
        still = {id(receipt) for receipt in held if not receipt.settled}
        return [id(delivery.receipt) in still for delivery in deliveries]

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`. SQS counts approximately, and late."""
        return self._letters.sizes(queues)

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`. Not declared: SQS knows our queues under other names."""
        return []

    def peek(self, queue: str, place: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`. Only the dead can be seen, and nobody else sees them meanwhile."""
        return self._letters.peek_dead(queue, limit) if place is QueueSection.DEAD else []

    def purge(self, queue: str, place: QueueSection) -> int:
        """See `Broker.purge`.

        Raises:
            NotSupported: delayed ones are meant, which SQS drops only with all others.
        """
        if place is QueueSection.DELAYED:
            raise NotSupported(
                f"SQS cannot drop the delayed messages of queue {queue!r} alone; purge them as they become ready, "
                "cancel their tasks, or let `aws sqs purge-queue` drop all messages of the queue, held ones too"
            )
        dropped = 0
        if place is QueueSection.READY:
            waiting = self._receiver.forget_waiting(queue)
            self._settler.delete(waiting)
            dropped = sum(receipt.settled for receipt in waiting)
        return dropped + self._letters.purge(queue, place)

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`. A crash in the midst of it leaves a message in both places."""
        return self._letters.replay(queue, message_ids)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._letters.drop_dead(queue, message_ids)

    def close(self) -> None:
        """See `Broker.close`. The object may be used again afterwards."""
        self._receiver.close()
        self._service.close()
