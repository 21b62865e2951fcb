"""The calls of drivers that a send makes, shared by the concurrent sends of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from drivetrain.contract import Broker, Message, Outcome, PublishFailed, RecordingBroker, Transition
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.shared_call import SharedCall

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Send", "SharedSendCalls", "publish_failures", "recorder"]

A = TypeVar("A")

#: A record, and the message that is published in the same step.
Send: TypeAlias = tuple[Transition, Message]


class SharedSendCalls:
    """The calls of drivers that a send makes, which concurrent sends share. Thread-safe.

    Args:
        runtime: the drivers of the app.

    Attributes:
        record: `Backend.record`.
        publish: `publish_failures` of the broker.
        record_and_publish: `RecordingBroker.record_and_publish`; None: broker and backend have no common store.
    """

    def __init__(self, runtime: Runtime) -> None:
        joined = recorder(runtime)
        self.record: SharedCall[Transition, Outcome] = SharedCall(runtime.backend.record, _record_bytes)
        self.publish: SharedCall[Message, Exception | None] = SharedCall(publish_failures(runtime.broker), _body_bytes)
        self.record_and_publish: SharedCall[Send, bool] | None = (
            None if joined is None else SharedCall(joined.record_and_publish, _send_bytes)
        )

    def submit(
        self, pending: Transition, message: Message, loop: AbstractEventLoop
    ) -> Awaitable[Sequence[bool] | None] | None:
        """Record a task and publish its message, for a coroutine; see `Publisher.submit`."""
        if self.record_and_publish is None:
            return self._record_then_publish(pending, message, loop)
        return self.record_and_publish.submit(((pending, message),), loop)

    async def _record_then_publish(
        self, pending: Transition, message: Message, loop: AbstractEventLoop
    ) -> Sequence[bool] | None:
        outcomes = await _or_none(self.record.submit((pending,), loop))
        if outcomes is None or not outcomes[0].applied:
            return None
        failures = await _or_none(self.publish.submit((message,), loop))
        return None if failures is None else [failure is None for failure in failures]


async def _or_none(submitted: Awaitable[Sequence[A] | None] | None) -> Sequence[A] | None:
    return None if submitted is None else await submitted


def recorder(runtime: Runtime) -> RecordingBroker | None:
    """The broker, if it also writes the records of the backend; otherwise None."""
    store = runtime.broker.capabilities.store
    joined = store is not None and store == runtime.backend.capabilities.store
    return cast("RecordingBroker", runtime.broker) if joined else None


def publish_failures(broker: Broker) -> Callable[[Sequence[Message]], Sequence[Exception | None]]:
    """`Broker.publish` with an answer for each message: the error with which it was refused, or None."""

    def publish(messages: Sequence[Message]) -> Sequence[Exception | None]:
        try:
            broker.publish(messages)
        except PublishFailed as error:
            return [error.failures.get(message.id) for message in messages]
        return [None] * len(messages)

    return publish


def _record_bytes(transition: Transition) -> int:
    return len(transition.payload or b"") + len(transition.downstream or b"")


def _body_bytes(message: Message) -> int:
    return len(message.body)


def _send_bytes(send: Send) -> int:
    transition, message = send
    return _record_bytes(transition) + len(message.body)
