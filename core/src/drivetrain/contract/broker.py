"""The contract of a broker: it carries messages from senders to workers and loses none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from drivetrain.contract.capabilities import BrokerCapabilities
from drivetrain.contract.messages import Delivery, Message, QueueSection, QueueSizes
from drivetrain.contract.states import Transition

__all__ = ["Broker", "RecordingBroker"]


@runtime_checkable
class Broker(Protocol):
    """Carries messages. Every method takes a batch; one is a batch of one, and an empty batch does nothing.

    Threads: all methods may be called from several threads at once, except that only one thread at a time is inside
    `receive` of one object. Forks: an object is used only in the process that made it. A forked child makes another,
    which must work whatever the threads of its parent did at the time of the fork; see `reset_after_fork`.

    Connecting is lazy: making a broker does no I/O; the first call connects, and a call after a lost connection
    connects anew. Errors: `ServiceError` and its children, chained to the client's own. A driver does not retry by
    itself: core does, with back-off. Queues need no declaring: publishing to and receiving from a new name works.
    """

    @property
    def capabilities(self) -> BrokerCapabilities:
        """What this broker can do. Constant, and needs no connection."""
        ...

    def ping(self) -> None:
        """Return if the service can be used; raise what stands in the way."""
        ...

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand messages to the service; when it returns, the service has them, as durably as declared.

        Raises:
            PublishFailed: some were certainly not published, and it says which; all others were.
            TooLarge: nothing was published; a message is beyond `largest_message_bytes`.
            ServiceUnavailable: any part of the batch may have been published.
        """
        ...

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """Take up to ``limit`` messages, waiting at most ``wait_seconds`` for the first one.

        Messages come from earlier queues of ``queues`` first, from higher priorities first within a queue, and within
        a priority in due order. As soon as there is any message, those that are there are returned; it does not wait
        for more. While it waits it does not poll in a busy loop. Each message is held for this consumer for
        ``hold_seconds`` (or as long as its connection lives, where `capabilities.hold` says so): no one else receives
        it until it is released, or its hold ends. A call that raises holds nothing for longer than that.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Remove messages for good. Where the hold has ended and the message was handed out again, nothing changes."""
        ...

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """Give messages back, to be delivered again after ``delay_seconds`` (at most `longest_delay_seconds`).

        Where the hold has ended and the message was handed out again, nothing changes.
        """
        ...

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        """Put messages aside, each with a reason, in the dead letters of their queue.

        The message is kept as it was, with `DEAD_REASON_HEADER` and `DEAD_AT_HEADER` added to its headers.
        """
        ...

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """Hold messages for ``hold_seconds`` from now; for each, whether it is still this consumer's."""
        ...

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """How many messages lie in each of ``queues``. A queue that was never used is empty."""
        ...

    def queues(self) -> Sequence[str]:
        """The names of the queues that were ever used, sorted; empty where `lists_queues` is not declared."""
        ...

    def peek(self, queue: str, place: QueueSection, *, limit: int) -> Sequence[Message]:
        """Up to ``limit`` messages that lie there, in delivery order (the dead: oldest first).

        Changes nothing: not the order, not what `Delivery.redelivered` will say.
        """
        ...

    def purge(self, queue: str, place: QueueSection) -> int:
        """Drop the messages that lie there; how many. Held messages and other queues are not touched.

        Raises:
            NotSupported: the delayed ones cannot be reached, and `peeks` is not declared.
        """
        ...

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into ``queue``, ready, without the headers of `dead_letter`; how many.

        Args:
            queue: whose dead letters.
            message_ids: which ones; None: all.
        """
        ...

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """Drop dead letters of ``queue`` for good; how many. For all of them there is `purge`.

        Args:
            queue: whose dead letters.
            message_ids: which ones; each is dropped as often as it is there.
        """
        ...

    def close(self) -> None:
        """Let go of connections. What is held and not settled is delivered again, at the latest when its hold ends.

        May be called twice, before first use, and while another thread is inside `receive`, which then returns.
        """
        ...


@runtime_checkable
class RecordingBroker(Broker, Protocol):
    """A broker that declares a `BrokerCapabilities.store`: it can write what the backend of the same store keeps."""

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """Record transitions to PENDING, and publish the message of each that is granted; for each, whether it was.

        What is recorded is what `Backend.record` of that store would record. Each entry is one step: whatever happens,
        its transition is recorded and its message published, or neither.

        Raises:
            TooLarge: nothing was recorded or published.
            ServiceUnavailable: any part of the batch may have been recorded and published.
        """
        ...
