"""Settling: which deliveries of a channel are unacknowledged, and how to settle many of them in few frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count

from pika import exceptions

from drivetrain.contract import Delivery, PublishFailed
from drivetrain_amqp.connection import Channel, Connection
from drivetrain_amqp.connection_manager import ConnectionManager, errors_translated
from drivetrain_amqp.protocol.frames import ack_frame, nack_frame
from drivetrain_amqp.publish import OutgoingMessage

__all__ = ["Settler", "SettlingChannel", "Unacked"]

Frame = Callable[[int, int, bool], bytes]

_generations = count(1)


class Unacked:
    """The delivery tags of a channel that are not settled, in growing order.

    `add` needs no lock. Call everything else with the lock of the channel held.
    """

    def __init__(self) -> None:
        #: By tag: whether a caller has claimed it, in order to settle it.
        self._tags: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: int) -> None:
        """Add a new delivery."""
        self._tags[tag] = False

    def holds(self, tag: int) -> bool:
        """Whether it is neither settled nor claimed."""
        return self._tags.get(tag) is False

    def claim(self, tags: Iterable[int]) -> list[int]:
        """Claim those of ``tags`` that are neither settled nor claimed: only the caller may settle them now."""
        claimed = [tag for tag in dict.fromkeys(tags) if self.holds(tag)]
        self._tags.update(dict.fromkeys(claimed, True))
        return claimed

    def unclaim(self, tags: Iterable[int]) -> None:
        """Undo `claim`: they could not be settled."""
        self._tags.update({tag: False for tag in tags if tag in self._tags})

    def settle(self, channel: int, claimed: Iterable[int], frame: Frame = ack_frame) -> bytes:
        """The frames that settle these tags.

        One frame settles all tags up to the first one that is not among them. Each other tag needs a frame of its own.
        """
        settled = set(claimed)
        last = 0
        for tag in list(self._tags):  # a copy: the thread that reads may add to it
            if tag not in settled:
                break
            last = tag
        single = sorted(tag for tag in settled if tag > last)
        for tag in settled:
            self._tags.pop(tag, None)
        together = [frame(channel, last, True)] if last else []
        return b"".join((*together, *(frame(channel, tag, False) for tag in single)))


class SettlingChannel(Channel):
    """A channel with deliveries to settle. RabbitMQ keeps them for it as long as it is open. Thread-safe."""

    def __init__(self, connection: Connection, number: int) -> None:
        super().__init__(connection, number)
        #: Unique in this process: the receipt of a delivery from an earlier channel is stale.
        self.generation = next(_generations)
        self.unacked = Unacked()

    def give_back(self, tags: Sequence[int]) -> None:
        """Let others have deliveries that no caller gets."""
        if tags and self.error is None:
            with self._lock, suppress(exceptions.AMQPError):  # if the channel ends now, RabbitMQ takes them back
                self.write(self.unacked.settle(self.number, self.unacked.claim(tags), nack_frame))

    def settle(self, tags: Sequence[int], *, requeue: bool = False) -> None:
        """Acknowledge the unsettled ones or give them back, and wait until RabbitMQ has processed it."""
        with self._lock:
            self._check_open()
            frame = nack_frame if requeue else ack_frame
            request = self.begin_barrier(self.unacked.settle(self.number, self.unacked.claim(tags), frame))
        self.replies(request)

    def claim(self, tags: Sequence[int]) -> list[int]:
        """See `Unacked.claim`."""
        with self._lock:
            self._check_open()
            return self.unacked.claim(tags)

    def finish(self, claimed: Sequence[int]) -> None:
        """Acknowledge what was claimed."""
        with self._lock:
            self._check_open()
            request = self.begin_barrier(self.unacked.settle(self.number, claimed))
        self.replies(request)

    def unclaim(self, tags: Sequence[int]) -> None:
        """See `Unacked.unclaim`."""
        with self._lock:
            self.unacked.unclaim(tags)


class Settler:
    """Settles deliveries. Thread-safe.

    A delivery's receipt is the generation of its channel, its tag, and its count of deliveries. RabbitMQ has taken back
    the deliveries of every earlier channel, so settling them does nothing.

    Args:
        manager: the connection for receiving.
        current: the channel that receives now, if there is one.
    """

    def __init__(self, manager: ConnectionManager, current: Callable[[], SettlingChannel | None]) -> None:
        self._manager, self._current = manager, current

    def settle(self, deliveries: Sequence[Delivery], *, requeue: bool = False) -> None:
        """Acknowledge the deliveries that are still unsettled, or give them back."""
        with errors_translated("releasing" if requeue else "acknowledging"):
            channel = self._open_channel()
            if channel is not None:
                channel.settle(_tags(channel, deliveries), requeue=requeue)

    def replace(
        self,
        pairs: Sequence[tuple[Delivery, OutgoingMessage]],
        publish: Callable[[Sequence[OutgoingMessage]], None],
    ) -> None:
        """Publish a message in the place of each unsettled delivery, and then acknowledge the delivery.

        Args:
            pairs: each delivery with what replaces it.
            publish: publishes with confirms.

        Raises:
            PublishFailed: some messages were refused. Their deliveries are unsettled, the others are acknowledged.
            ServiceError: `publish` raised it; all deliveries are unsettled.
        """
        with errors_translated("settling"):
            channel = self._open_channel()
            if channel is None:
                return
            claimed = channel.claim(_tags(channel, [delivery for delivery, _ in pairs]))
            outgoing = {each.receipt[1]: new for each, new in pairs if each.receipt[0] == channel.generation}
            published: list[int] = []
            try:
                refused = _publish([outgoing[tag] for tag in claimed], publish)
                failures = refused.failures if refused else {}
                published = [tag for tag in claimed if outgoing[tag].message.id not in failures]
            finally:
                done = set(published)
                channel.unclaim([tag for tag in claimed if tag not in done])
            channel.finish(published)
        if refused is not None:
            raise refused

    def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """For each delivery, whether it is still unsettled."""
        with errors_translated("extending"):
            channel = self._open_channel()
            if channel is None:
                return [False] * len(deliveries)
            channel.barrier()  # only an answer shows that the connection is alive
            return [
                each.receipt[0] == channel.generation and channel.unacked.holds(each.receipt[1]) for each in deliveries
            ]

    def _open_channel(self) -> SettlingChannel | None:
        self._manager.connection()  # raises where RabbitMQ cannot be reached
        channel = self._current()
        return channel if channel is not None and channel.error is None else None


def _tags(channel: SettlingChannel, deliveries: Sequence[Delivery]) -> list[int]:
    """The tags of the deliveries that came by this channel."""
    return [each.receipt[1] for each in deliveries if each.receipt[0] == channel.generation]


def _publish(
    messages: Sequence[OutgoingMessage], publish: Callable[[Sequence[OutgoingMessage]], None]
) -> PublishFailed | None:
    """Publish; the error of those that were refused."""
    try:
        if messages:
            publish(messages)
    except PublishFailed as error:
        return error
    return None
