"""Sending messages: in batches, several at once, each failure told apart."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
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
    evolve,
)
from drivetrain_sqs.errors import entry_error, is_missing_queue
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS
from drivetrain_sqs.names import Role
from drivetrain_sqs.options import Options
from drivetrain_sqs.packing import by_size
from drivetrain_sqs.queues import Queues, SqsQueue
from drivetrain_sqs.service import Service
from drivetrain_sqs.wire import Death, Envelope, dump, size_of

__all__ = ["EARLY_SECONDS", "Sender", "Sent"]

#: A receiver takes a message so long before it is due and waits for the rest: SQS counts whole seconds.
EARLY_SECONDS = 1.25
#: Groups of SQS's own signs, and none that `_group` makes.
_GROUP = re.compile(r"(?![mh]-)[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
#: Every message must have so much room to become a dead letter.
_DEATH_BYTES = 1024
#: How often the entries of a batch that SQS did not take, for a reason of its own, are sent.
_ROUNDS = 2


@frozen
class _Parcel:
    """An envelope on its way to a queue."""

    number: int
    queue: str
    role: Role
    entry: dict[str, Any]


@define(eq=False)
class Sent:
    """What became of envelopes, by their number; of those not named here SQS has a copy."""

    #: Certainly not sent.
    refused: dict[int, ServiceError] = field(factory=dict)
    #: Sent or not, nobody knows.
    unknown: dict[int, ServiceError] = field(factory=dict)

    def passing(self) -> ServiceUnavailable | None:
        """Why some were not sent that may be sent later, if any."""
        errors = [*self.unknown.values(), *self.refused.values()]
        return next((each for each in errors if isinstance(each, ServiceUnavailable)), None)

    def has(self, number: int) -> bool:
        """Whether SQS surely has it."""
        return number not in self.refused and number not in self.unknown


class Sender:
    """Sends envelopes. Thread-safe."""

    def __init__(self, service: Service, queues: Queues, clock: Clock, options: Options) -> None:
        self._service = service
        self._queues = queues
        self._clock = clock
        self._options = options

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        envelopes = [Envelope(message=evolve(each, headers=dict(each.headers))) for each in messages]
        parcels = [self._checked(number, each) for number, each in enumerate(envelopes)]
        sent = self._send(parcels)
        if (passing := sent.passing()) is not None:
            raise passing
        if sent.refused:
            errors = list(sent.refused.values())
            if len(errors) == len(messages):
                raise errors[0]
            raise PublishFailed({messages[number].id: error for number, error in sent.refused.items()})

    def send(self, envelopes: Sequence[Envelope], role: Role | None = None, once: Sequence[str] | None = None) -> Sent:
        """Send envelopes that were received before: those of dead letters, of replays and of long delays.

        Args:
            envelopes: what to send.
            role: where to; None: where a message of its ETA goes.
            once: for each a text that is the same when it is sent again; a FIFO queue takes one of them.
        """
        ids = once or [uuid4().hex for _ in envelopes]
        return self._send([self._parcel(number, each, role, ids[number]) for number, each in enumerate(envelopes)])

    def buried(self, envelope: Envelope, reason: str) -> Envelope:
        """The envelope as a dead letter; a reason that there is no room for is cut."""
        source = self._queues.name(envelope.message.queue)
        while True:
            dead = evolve(envelope, death=Death(reason, self._clock.now(), source))
            if len(reason) <= 1 or size_of(dump(dead)) <= self._options.message_bytes:
                return dead
            reason = f"{reason[: len(reason) // 2]}…"

    def _checked(self, number: int, envelope: Envelope) -> _Parcel:
        message, limit = envelope.message, self._options.largest_message_bytes
        size = len(message.body) + sum(_bytes(name) + _bytes(text) for name, text in message.headers.items())
        if size > limit:
            raise TooLarge(f"message {message.id[:100]}", size, limit)
        parcel = self._parcel(number, envelope, None, uuid4().hex)
        room = self._options.message_bytes - _DEATH_BYTES
        if (encoded := size_of(parcel.entry)) > room:
            raise TooLarge(f"message {message.id[:100]}, as it is encoded,", encoded, room)
        return parcel

    def _parcel(self, number: int, envelope: Envelope, role: Role | None, once: str) -> _Parcel:
        delay = seconds_to(envelope.message.eta, self._clock.now())
        entry = dump(envelope)
        waits = role is None
        if role is None:
            role = Role.LATER if self._options.fifo and delay > EARLY_SECONDS else Role.MAIN
        if self._options.fifo and role is not Role.LATER:
            # Dead letters have a group each, for a look at one hides what follows in its group.
            group = _alone(once) if role is Role.DEAD else _group(envelope.message, once)
            entry |= {"MessageGroupId": group, "MessageDeduplicationId": once}
        else:
            # Said even if it is 0, for a queue may have a delay of its own. Rounded down: the receiver keeps the rest.
            entry["DelaySeconds"] = int(min(delay, LONGEST_DELAY_SECONDS)) if waits else 0
        return _Parcel(number, envelope.message.queue, role, entry)

    def _send(self, parcels: Sequence[_Parcel]) -> Sent:
        sent = Sent()
        grouped: dict[tuple[str, Role], list[_Parcel]] = {}
        for parcel in parcels:
            grouped.setdefault((parcel.queue, parcel.role), []).append(parcel)
        runs: list[tuple[SqsQueue, list[list[_Parcel]]]] = []
        for (queue, role), some in grouped.items():
            try:
                where = self._queues.find_dead(queue) if role is Role.DEAD else self._queues.find(queue, role)
            except ServiceError as error:
                sent.refused.update(dict.fromkeys((each.number for each in some), error))
                continue
            batches = list(_batches(some))
            # The order in a FIFO queue is that in which batches come; elsewhere they may overtake each other.
            runs += [(where, batches)] if where.fifo else [(where, [batch]) for batch in batches]
        outcomes = self._service.together([partial(self._send_run, *run) for run in runs]) if runs else []
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                raise outcome
            sent.refused.update(outcome.refused)
            sent.unknown.update(outcome.unknown)
        return sent

    def _send_run(self, queue: SqsQueue, batches: Sequence[Sequence[_Parcel]]) -> Sent:
        sent = Sent()
        for index, batch in enumerate(batches):
            left = {str(number): parcel for number, parcel in enumerate(batch)}
            for _ in range(_ROUNDS):
                for parcel in left.values():
                    sent.refused.pop(parcel.number, None)
                failed = self._send_batch(queue, left, sent)
                sent.refused.update({left[key].number: error for key, error in failed.items()})
                left = {key: left[key] for key, error in failed.items() if isinstance(error, ServiceUnavailable)}
                if not left:
                    break
            if (error := sent.passing()) is not None:
                # It will be sent again, and what follows it in its group must not get ahead of it.
                after = [parcel.number for later in batches[index + 1 :] for parcel in later]
                sent.refused.update(dict.fromkeys(after, error))
                break
        return sent

    def _send_batch(self, queue: SqsQueue, parcels: Mapping[str, _Parcel], sent: Sent) -> dict[str, ServiceError]:
        """Send up to ten; the error of each entry that was refused. What fails as a whole is noted in ``sent``."""
        entries = [{"Id": key, **parcel.entry} for key, parcel in parcels.items()]
        try:
            answer = self._service.call("SendMessageBatch", queue.name, QueueUrl=queue.url, Entries=entries)
        except ServiceError as error:
            if is_missing_queue(error):
                self._queues.forget(queue.name)
            kind = sent.unknown if isinstance(error, ServiceUnavailable) else sent.refused
            kind.update(dict.fromkeys((parcel.number for parcel in parcels.values()), error))
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
    """How long until ``eta``; 0 if it has passed."""
    return 0.0 if eta is None or math.isnan(eta) else max(0.0, eta - now)


def _batches(parcels: Sequence[_Parcel]) -> list[list[_Parcel]]:
    by_entry = {id(parcel.entry): parcel for parcel in parcels}
    return [[by_entry[id(entry)] for entry in batch] for batch in by_size([parcel.entry for parcel in parcels])]


def _group(message: Message, once: str) -> str:
    """The group in a FIFO queue; a message that names none is alone in its own, named for this one publication."""
    named = message.headers.get(MESSAGE_GROUP_HEADER)
    if named is None:
        return _alone(once)
    if _GROUP.fullmatch(named):
        return named
    return f"h-{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _alone(once: str) -> str:
    return f"m-{once}"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
