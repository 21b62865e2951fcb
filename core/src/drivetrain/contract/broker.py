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
    """Carries messages. Every method takes a batch; an empty batch does nothing.

    Threads: several threads may call all methods at once, but only one thread at a time is inside `receive` of an
    object.

    Forks: only the process that made an object uses it. A forked child makes another object. That one must work
    whatever the threads of the parent did during the fork; see `reset_after_fork`.

    Connecting: to make a broker does no I/O. The first call connects, and a call after a lost connection connects
    again.

    Errors: `ServiceError` and its children, chained to the client's own error. A driver does not retry: core does, with
    back-off.

    Queues need no declaration: to publish to a new name and to receive from it works.
    """

    @property
    def capabilities(self) -> BrokerCapabilities:
        """What this broker can do. Constant, and needs no connection."""
        ...

    def ping(self) -> None:
        """Return if the service can be used; otherwise raise the reason.

        Raises:
            ServiceError: it cannot.
        """
        ...

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages. When it returns, the service has them, as durably as declared.

        Raises:
            PublishFailed: some messages were certainly not published; the error names them. All others were published.
            TooLarge: nothing was published; a message is beyond `largest_message_bytes`.
            ServiceUnavailable: any part of the batch may have been published.
        """
        ...

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """Receive at most ``limit`` messages. Wait at most ``wait_seconds`` for the first one.

        Callers ask for at least one message, from at least one queue.

        Order: earlier queues of ``queues`` first, within a queue higher priorities first, within a priority in due
        order. As soon as there is a message, the call returns those that are there. It does not poll in a busy loop.

        Hold: each message is held for this consumer for ``hold_seconds``, or as long as its connection lives where
        `capabilities.hold` says so. No one else receives it until it is released or its hold ends. A call that raises
        holds nothing for longer.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Remove messages. Where the hold has ended and the message was delivered again, nothing changes."""
        ...

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """Return messages to their queue, to be delivered again after ``delay_seconds``: 0 to `longest_delay_seconds`.

        Where the hold has ended and the message was delivered again, nothing changes.
        """
        ...

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]], /) -> None:
        """Move messages to the dead letters of their queue. Each delivery comes with the reason.

        `peek` shows the message as it was published, with `DEAD_REASON_HEADER` and `DEAD_AT_HEADER` in its headers.
        """
        ...

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """Hold messages for ``hold_seconds`` from now. Returns for each whether this consumer still holds it."""
        ...

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """The number of messages in each of ``queues``, and their age. A queue that was never used is empty.

        Age: a message is ready since it was published, or since its ETA if that is later. A replay begins a new age. A
        release does not; one with a delay may.
        """
        ...

    def queues(self) -> Sequence[str]:
        """The sorted names of all queues that were ever used; empty where `lists_queues` is not declared."""
        ...

    def peek(self, queue: str, section: QueueSection, /, *, limit: int) -> Sequence[Message]:
        """At most ``limit`` messages of a section, in the order of delivery; the oldest dead letters first.

        It changes nothing: not the order, and not a later `Delivery.redelivered`.
        """
        ...

    def purge(self, queue: str, section: QueueSection, /) -> int:
        """Drop the messages of a section. Returns their number. Messages in flight and other queues stay as they are.

        Raises:
            NotSupported: the broker cannot reach delayed messages, and does not declare `peeks`.
        """
        ...

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """Make dead letters ready again, without the headers of `dead_letter`. Returns their number.

        Args:
            queue: the queue of the dead letters.
            message_ids: the ids of the messages; None: all.
        """
        ...

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """Drop dead letters. Returns their number. `purge` drops all of them.

        Args:
            queue: the queue of the dead letters.
            message_ids: the ids of the messages. All dead letters of one id are dropped.
        """
        ...

    def close(self) -> None:
        """Close connections. Unsettled messages are delivered again, at the latest when their hold ends.

        May be called twice, before the first use, and while another thread is inside `receive`. That thread then
        returns.
        """
        ...


@runtime_checkable
class RecordingBroker(Broker, Protocol):
    """A broker that declares a `BrokerCapabilities.store`: it also writes records of the backend of the same store."""

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """Record transitions to PENDING, and publish the message of each granted one. Returns which were granted.

        It records what `Backend.record` of that store would record. Each entry is one step: whatever happens, its
        transition is recorded and its message published, or neither.

        Raises:
            TooLarge: nothing was recorded or published.
            ServiceUnavailable: any part of the batch may have been recorded and published.
        """
        ...
