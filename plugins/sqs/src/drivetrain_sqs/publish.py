"""Publishing: messages to SQS in batches, several batches at once, with an error for each message that fails."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from attrs import define, field, frozen

from drivetrain.contract import (
    MESSAGE_GROUP_HEADER,
    Clock,
    Message,
    PublishFailed,
    ServiceError,
    ServiceUnavailable,
    TooLarge,
    check_message_size,
    evolve,
    name_digest,
)
from drivetrain_sqs.codec import DeadLetterCause, StoredMessage, encode, size_of
from drivetrain_sqs.connection import Api
from drivetrain_sqs.errors import entry_error, is_missing_queue
from drivetrain_sqs.limits import BATCH_BYTES, BATCH_ENTRIES, LONGEST_DELAY_SECONDS
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import Queues, SqsQueue

__all__ = ["EARLY_SECONDS", "PublishResult", "Publisher", "batches_of", "message_group", "seconds_to"]

#: The driver receives a message up to this long before it is due, and waits for the rest: SQS counts whole seconds.
EARLY_SECONDS = 1.25
#: Group ids that SQS accepts, except those that `message_group` makes.
_GROUP = re.compile(r"(?![mh]-)[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
#: The space that every message must have left to become a dead letter.
_CAUSE_BYTES = 1024
#: How often the driver sends the entries of a batch that fail with `ServiceUnavailable`.
_ROUNDS = 2


@frozen
class _OutgoingMessage:
    """An entry of SendMessageBatch with its destination."""

    #: The position in the caller's list.
    number: int
    queue: str
    role: Role
    entry: dict[str, Any]


@define(eq=False)
class PublishResult:
    """The errors of a publication, by the position of the message. SQS has all messages without an error."""

    #: Certainly not published.
    refused: dict[int, ServiceError] = field(factory=dict)
    #: Published or not: the answer was lost.
    unknown: dict[int, ServiceError] = field(factory=dict)

    @property
    def errors(self) -> list[ServiceError]:
        """All errors."""
        return [*self.unknown.values(), *self.refused.values()]

    def retryable(self) -> ServiceUnavailable | None:
        """The first error of a message that may be published later; None if there is none."""
        return next((each for each in self.errors if isinstance(each, ServiceUnavailable)), None)

    def has(self, number: int) -> bool:
        """Whether SQS certainly has this message."""
        return number not in self.refused and number not in self.unknown


class Publisher:
    """Publishes messages. Thread-safe."""

    def __init__(self, api: Api, queues: Queues, clock: Clock, options: Options) -> None:
        self._api = api
        self._queues = queues
        self._clock = clock
        self._options = options

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        stored = [StoredMessage(message=evolve(each, headers=dict(each.headers))) for each in messages]
        result = self._send([self._within_limits(number, each) for number, each in enumerate(stored)])
        if (error := result.retryable()) is not None:
            raise error
        if result.refused:
            errors = list(result.refused.values())
            if len(errors) == len(messages):
                raise errors[0]
            raise PublishFailed({messages[number].id: error for number, error in result.refused.items()})

    def republish(
        self, stored: Sequence[StoredMessage], role: Role | None = None, ids: Sequence[str] | None = None
    ) -> PublishResult:
        """Publish messages that were received: dead letters, replayed ones, and those with a long delay.

        Args:
            stored: the messages.
            role: the role of the destination; None: the one that fits the message's ETA.
            ids: the deduplication id of each message; None: a new one. A FIFO queue accepts an id once in 5 minutes.
        """
        ids = ids or [uuid4().hex for _ in stored]
        return self._send([self._outgoing(number, each, role, ids[number]) for number, each in enumerate(stored)])

    def as_dead_letter(self, stored: StoredMessage, reason: str) -> StoredMessage:
        """The message as a dead letter. Cuts a reason that would make it too large for the queue."""
        source = self._queues.name(stored.message.queue)
        while True:
            dead = evolve(stored, dead_letter=DeadLetterCause(reason, self._clock.now(), source))
            if len(reason) <= 1 or size_of(encode(dead)) <= self._options.message_bytes:
                return dead
            reason = f"{reason[: len(reason) // 2]}…"

    def _within_limits(self, number: int, stored: StoredMessage) -> _OutgoingMessage:
        """The outgoing message; raises TooLarge for one that the queue would refuse."""
        message = stored.message
        check_message_size(message, self._options.largest_message_bytes)
        outgoing = self._outgoing(number, stored, None, uuid4().hex)
        room = self._options.message_bytes - _CAUSE_BYTES
        if (encoded := size_of(outgoing.entry)) > room:
            raise TooLarge(f"message {message.id[:100]}, as it is encoded,", encoded, room)
        return outgoing

    def _outgoing(self, number: int, stored: StoredMessage, role: Role | None, publish_id: str) -> _OutgoingMessage:
        delay = seconds_to(stored.message.eta, self._clock.now())
        entry = encode(stored)
        delayed_by_sqs = role is None
        if role is None:
            role = Role.LATER if self._options.fifo and delay > EARLY_SECONDS else Role.MAIN
        if self._options.fifo and role is not Role.LATER:
            # A dead letter has a group of its own: receiving it would hide the rest of its group.
            group = _own_group(publish_id) if role is Role.DEAD else message_group(stored.message, publish_id)
            entry |= {"MessageGroupId": group, "MessageDeduplicationId": publish_id}
        else:
            # Given even if it is 0, because a queue may have a delay of its own. Rounded down: the receiver waits for
            # the rest.
            entry["DelaySeconds"] = int(min(delay, LONGEST_DELAY_SECONDS)) if delayed_by_sqs else 0
        return _OutgoingMessage(number, stored.message.queue, role, entry)

    def _send(self, messages: Sequence[_OutgoingMessage]) -> PublishResult:
        result = PublishResult()
        grouped: dict[tuple[str, Role], list[_OutgoingMessage]] = {}
        for message in messages:
            grouped.setdefault((message.queue, message.role), []).append(message)
        runs: list[tuple[SqsQueue, list[list[_OutgoingMessage]]]] = []
        for (queue, role), some in grouped.items():
            try:
                sqs_queue = self._queues.get_dead(queue) if role is Role.DEAD else self._queues.get(queue, role)
            except ServiceError as error:
                result.refused.update(dict.fromkeys((each.number for each in some), error))
                continue
            batches = list(_batches(some))
            # A FIFO queue has the order in which batches arrive. In other queues one batch may overtake another.
            runs += [(sqs_queue, batches)] if sqs_queue.fifo else [(sqs_queue, [batch]) for batch in batches]
        outcomes = self._api.call_all([partial(self._send_run, *run) for run in runs]) if runs else []
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                raise outcome
            result.refused.update(outcome.refused)
            result.unknown.update(outcome.unknown)
        return result

    def _send_run(self, queue: SqsQueue, batches: Sequence[Sequence[_OutgoingMessage]]) -> PublishResult:
        """Send batches to one queue, one after the other."""
        result = PublishResult()
        for index, batch in enumerate(batches):
            unsent = {str(number): message for number, message in enumerate(batch)}
            for _ in range(_ROUNDS):
                for message in unsent.values():
                    result.refused.pop(message.number, None)
                failed = self._send_batch(queue, unsent, result)
                result.refused.update({unsent[key].number: error for key, error in failed.items()})
                unsent = {key: unsent[key] for key, error in failed.items() if isinstance(error, ServiceUnavailable)}
                if not unsent:
                    break
            if (error := result.retryable()) is not None:
                # The caller will publish it again. Later messages of its group must not overtake it.
                after = [message.number for later in batches[index + 1 :] for message in later]
                result.refused.update(dict.fromkeys(after, error))
                break
        return result

    def _send_batch(
        self, queue: SqsQueue, messages: Mapping[str, _OutgoingMessage], result: PublishResult
    ) -> dict[str, ServiceError]:
        """Send up to ten messages. Return the error of each refused entry; add the error of the call to ``result``."""
        entries = [{"Id": key, **message.entry} for key, message in messages.items()]
        try:
            answer = self._api.call("SendMessageBatch", queue.name, QueueUrl=queue.url, Entries=entries)
        except ServiceError as error:
            if is_missing_queue(error):
                self._queues.forget(queue.name)
            kind = result.unknown if isinstance(error, ServiceUnavailable) else result.refused
            kind.update(dict.fromkeys((message.number for message in messages.values()), error))
            return {}
        return {
            each["Id"]: entry_error(
                each.get("Code", ""),
                each.get("Message", ""),
                "SendMessage",
                queue.name,
                status=0 if each.get("SenderFault", True) else 500,
            )
            for each in answer.get("Failed", ())
        }


def seconds_to(eta: float | None, now: float) -> float:
    """The seconds until ``eta``; 0 if it has passed."""
    return 0.0 if eta is None or math.isnan(eta) else max(0.0, eta - now)


def batches_of(entries: Sequence[dict[str, Any]], limit: int = BATCH_BYTES) -> Iterator[list[dict[str, Any]]]:
    """Batches of at most ten entries and ``limit`` bytes, in order; each entry alone must fit."""
    batch: list[dict[str, Any]] = []
    room = limit
    for entry in entries:
        size = size_of(entry)
        if batch and (len(batch) == BATCH_ENTRIES or size > room):
            yield batch
            batch, room = [], limit
        batch.append(entry)
        room -= size
    if batch:
        yield batch


def message_group(message: Message, publish_id: str) -> str:
    """The group of a message in a FIFO queue. A message that names no group is alone in one for this publication."""
    named = message.headers.get(MESSAGE_GROUP_HEADER)
    if named is None:
        return _own_group(publish_id)
    if _GROUP.fullmatch(named):
        return named
    return f"h-{name_digest(named)}"


def _batches(messages: Sequence[_OutgoingMessage]) -> list[list[_OutgoingMessage]]:
    by_entry = {id(message.entry): message for message in messages}
    entries = [message.entry for message in messages]
    return [[by_entry[id(entry)] for entry in batch] for batch in batches_of(entries)]


def _own_group(publish_id: str) -> str:
    return f"m-{publish_id}"
