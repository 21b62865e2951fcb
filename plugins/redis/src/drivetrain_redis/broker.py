"""The broker of ``redis://``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.contract import (
    BrokerCapabilities,
    Clock,
    Delivery,
    Message,
    QueueSection,
    QueueSizes,
    Transition,
)
from drivetrain_redis.admin import QueueAdmin
from drivetrain_redis.discovery import open_client
from drivetrain_redis.keys import Keys, QueueKeys
from drivetrain_redis.options import Options
from drivetrain_redis.publish import LARGEST_MESSAGE_BYTES, Publisher
from drivetrain_redis.receive import Receiver
from drivetrain_redis.settle import Settler
from drivetrain_redis.waiting import Waiting

__all__ = ["RedisBroker"]


class RedisBroker:
    """A broker on Redis or Valkey; see `drivetrain.contract.Broker`.

    Holds and delays are measured by the clock of the server, which all its clients share; an ETA is compared to it.
    A message that comes back, by `release` or at the end of its hold, goes before the other messages of its priority.

    Args:
        options: of its URL.
        clock: tells when messages are published; the age of a message begins then.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BrokerCapabilities(
            durability=options.durability,
            delay_resolution_seconds=0.02,
            largest_message_bytes=LARGEST_MESSAGE_BYTES,
            priority_levels=10,
            ordered=True,
            fair_keys=True,
            counts_deliveries=True,
            lists_queues=True,
            peeks=True,
            measures_age=True,
            receive_wait_seconds=1.0,
            store=options.store,
        )
        self._shown = options.shown
        self._client = open_client(options)
        self._waiting = Waiting(options, self._client)
        keys = Keys(options.prefix)
        queues = QueueKeys(self._client, keys)
        self._publisher = Publisher(self._client, keys, queues, clock)
        self._receiver = Receiver(self._client, queues, self._waiting)
        self._settler = Settler(self._client, queues)
        self._admin = QueueAdmin(self._client, keys)

    def __repr__(self) -> str:
        return f"RedisBroker({self._shown})"

    def ping(self) -> None:
        """See `Broker.ping`."""
        self._client.run_on_masters("PING")

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        self._publisher.publish(messages)

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """See `RecordingBroker.record_and_publish`."""
        return self._publisher.record_and_publish(sends)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        return self._receiver.receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        self._settler.acknowledge(deliveries)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        self._settler.release(deliveries, delay_seconds=delay_seconds)

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        return self._settler.extend(deliveries, hold_seconds=hold_seconds)

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        self._settler.dead_letter(letters)

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        return self._admin.sizes(queues)

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`."""
        return self._admin.queues()

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`."""
        return self._admin.peek(queue, section, limit)

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
        """See `Broker.close`. The object may be used again afterwards."""
        self._waiting.close()
        self._client.close()
