"""Replaying and dropping dead letters, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivetrain.app.bulk.messages import all_messages, body_keys, read_invocation
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.queued_tasks import queued_task
from drivetrain.app.sending import Sender
from drivetrain.contract import Message, QueueSection, SerializationError
from drivetrain.worker.publisher import workflow_of
from drivetrain.worker.runtime import Runtime

__all__ = ["DeadLetters"]


class DeadLetters:
    """Chooses, replays and drops dead letters. Thread-safe. All methods raise ServiceError if a driver does."""

    def __init__(self, runtime: Runtime, sender: Sender) -> None:
        self._runtime = runtime
        self._sender = sender

    def chosen(self, queue: str, where: DeadLetterFilter) -> Iterator[Message]:
        """The dead letters of ``queue`` that match, oldest first."""
        for message in all_messages(self._runtime, queue, QueueSection.DEAD):
            if where.matches(queued_task(message, lambda one: read_invocation(self._runtime, one))):
                yield message

    def replay(self, queue: str, messages: Sequence[Message]) -> int:
        """Run dead letters again; how many."""
        for message in messages:
            self._reset(message)
        # By id: a letter that arrived after the reset has a finished record, so a worker would drop it.
        return self._runtime.broker.replay(queue, [message.id for message in messages])

    def drop(self, queue: str, messages: Sequence[Message]) -> int:
        """Delete dead letters; how many."""
        dropped = self._runtime.broker.drop_dead_letters(queue, [message.id for message in messages])
        self.drop_bodies(messages)
        return dropped

    def drop_bodies(self, messages: Sequence[Message]) -> None:
        """Delete what the backend stores for messages that the broker has dropped."""
        self._runtime.backend.drop_bodies(body_keys(self._runtime, messages))

    def _reset(self, message: Message) -> None:
        try:
            invocation = read_invocation(self._runtime, message)
        except SerializationError:
            return  # it is replayed all the same: a worker with another version may read it
        self._sender.reset_for_replay(invocation, workflow=workflow_of(message))
