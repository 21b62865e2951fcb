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
from drivetrain_sqs.admin import Admin
from drivetrain_sqs.connection import Api, Clients, connect
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS, LONGEST_HOLD_SECONDS
from drivetrain_sqs.options import Options
from drivetrain_sqs.publish import Publisher
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receive import Receiver
from drivetrain_sqs.receive_buffer import ReceiveBuffer
from drivetrain_sqs.settle import Settler

__all__ = ["SqsBroker"]

#: A stopping worker waits this long for its `receive`. Long polls last longer, from one `receive` to the next.
_RECEIVE_WAIT_SECONDS = 1.0


class SqsBroker:
    """A broker on Amazon SQS; see `drivetrain.contract.Broker`.

    Args:
        options: the options of the URL.
        clock: the clock for delays and holds.
        connect: makes the boto3 clients; tests pass their own.
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
        self._api = Api(options, connect)
        self._queues = Queues(self._api, options)
        self._publisher = Publisher(self._api, self._queues, clock, options)
        self._settler = Settler(self._api, self._publisher, clock, fifo=options.fifo)
        self._buffer = ReceiveBuffer(self._publisher, self._settler, clock)
        self._receiver = Receiver(api=self._api, queues=self._queues, buffer=self._buffer, clock=clock, options=options)
        self._admin = Admin(
            api=self._api,
            queues=self._queues,
            publisher=self._publisher,
            settler=self._settler,
            clock=clock,
            options=options,
        )

    def ping(self) -> None:
        """See `Broker.ping`. Needs the permission ``sqs:GetQueueUrl`` for every queue of the namespace."""
        self._queues.ping()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if messages:
            self._publisher.publish(messages)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        return self._receiver.receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        with self._settler.claim(deliveries) as receipts:
            self._settler.delete(receipts)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        with self._settler.claim(deliveries) as receipts:
            self._settler.release(receipts, delay_seconds)

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`. A crash during the call may leave a message in both sections."""
        reasons = {id(delivery.receipt): reason for delivery, reason in letters}
        with self._settler.claim(delivery for delivery, _ in letters) as receipts:
            self._settler.dead_letter([(receipt, reasons[id(receipt)]) for receipt in receipts])

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        receipts = self._settler.open_receipts(deliveries)
        self._settler.extend(receipts, hold_seconds)
        still_held = {id(receipt) for receipt in receipts if not receipt.settled}
        return [id(delivery.receipt) in still_held for delivery in deliveries]

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`. SQS counts approximately, and with a delay."""
        return self._admin.sizes(queues)

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`. Not declared as a capability: SQS knows our queues by other names."""
        return []

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`. Shows dead letters only, and hides them from other consumers meanwhile."""
        return self._admin.peek_dead(queue, limit) if section is QueueSection.DEAD else []

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`.

        Raises:
            NotSupported: for delayed messages, which SQS drops only together with all others.
        """
        if section is QueueSection.DELAYED:
            raise NotSupported(
                f"SQS cannot drop the delayed messages of queue {queue!r} alone; cancel their tasks, purge them when "
                "they are ready, or drop all messages of the queue, in-flight ones too, with `aws sqs purge-queue`"
            )
        dropped = 0
        if section is QueueSection.READY:
            buffered = self._buffer.take_queue(queue)
            self._settler.delete(buffered)
            dropped = sum(receipt.settled for receipt in buffered)
        return dropped + self._admin.purge(queue, section)

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`. A crash during the call may leave a message in both sections."""
        return self._admin.replay(queue, message_ids)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._admin.drop_dead_letters(queue, message_ids)

    def close(self) -> None:
        """See `Broker.close`. The broker may be used again afterwards."""
        self._receiver.close()
        self._api.close()
