"""Administration: sizes, peek, purge and replay.

SQS can only receive, so a message that an operator looks at is hidden from consumers for that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from drivetrain.contract import Clock, Message, QueueSection, QueueSizes, ServiceError, evolve
from drivetrain_sqs.codec import DeadLetterCause, decode
from drivetrain_sqs.connection import Api
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.options import Options
from drivetrain_sqs.publish import Publisher
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import Queues, SqsQueue
from drivetrain_sqs.settle import Receipt, Settler

__all__ = ["Admin"]

#: How long received messages are hidden, in seconds. They are released as soon as the operation ends.
_HIDING_SECONDS = 60
#: How many dead letters a peek sorts to show the oldest of them.
_SORTED = 1000
#: How many messages one round receives.
_ROUND = 500
_READY = "ApproximateNumberOfMessages"
_DELAYED = "ApproximateNumberOfMessagesDelayed"
_IN_FLIGHT = "ApproximateNumberOfMessagesNotVisible"
_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "DeadLetterQueueSourceArn")


class Admin:
    """The operators' calls. Thread-safe."""

    def __init__(
        self, *, api: Api, queues: Queues, publisher: Publisher, settler: Settler, clock: Clock, options: Options
    ) -> None:
        self._api = api
        self._queues = queues
        self._publisher = publisher
        self._settler = settler
        self._clock = clock
        self._options = options

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        names = list(dict.fromkeys(queues))
        calls: list[Callable[[], QueueSizes]] = [partial(self._sizes, name) for name in names]
        outcomes = self._api.call_all(calls) if calls else []
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                raise outcome
        return {name: size for name, size in zip(names, outcomes, strict=True) if isinstance(size, QueueSizes)}

    def peek_dead(self, queue: str, limit: int) -> Sequence[Message]:
        """See `Broker.peek`. Of more than a thousand, it shows the oldest of those that SQS returns first."""
        dead = self._queues.find_dead(queue) if limit > 0 else None
        if dead is None:
            return []
        found: list[Receipt] = []
        try:
            for batch in self._batches(queue, dead):
                found += batch
                if len(found) >= max(_SORTED, min(limit, 10 * _SORTED)):
                    break
        finally:
            self._release(found)
        found.sort(key=_dead_since)
        return [each.stored.as_dead_letter() for each in found[:limit]]

    def replay(self, queue: str, message_ids: Sequence[str] | None) -> int:
        """See `Broker.replay`."""
        return self._for_dead_letters(queue, message_ids, self._replay)

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._for_dead_letters(queue, message_ids, self._drop)

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`; not for delayed messages."""
        sqs_queue = self._queues.find_dead(queue) if section is QueueSection.DEAD else self._queues.find(queue)
        if sqs_queue is None:
            return 0
        dropped = 0
        for batch in self._batches(queue, sqs_queue):
            dropped += self._drop(batch)
        return dropped

    def _for_dead_letters(
        self, queue: str, message_ids: Sequence[str] | None, do: Callable[[Sequence[Receipt]], int]
    ) -> int:
        """Call ``do`` for the dead letters with these ids (None: for all). Return the sum of its results."""
        wanted = None if message_ids is None else frozenset(message_ids)
        dead = self._queues.find_dead(queue) if wanted is None or wanted else None
        if dead is None:
            return 0
        counted, others = 0, list[Receipt]()
        try:
            for batch in self._batches(queue, dead):
                chosen = [each for each in batch if wanted is None or each.stored.message.id in wanted]
                others += [each for each in batch if each not in chosen]
                counted += do(chosen)
        finally:
            self._release(others)
        return counted

    def _sizes(self, queue: str) -> QueueSizes:
        main, dead = self._queues.find(queue), self._queues.find_dead(queue)
        later = self._queues.find(queue, Role.LATER) if self._options.fifo else None
        # A dead letter that an operator looks at is still one.
        main_counts, later_counts, dead_counts = self._counts(main), self._counts(later), self._counts(dead)
        return QueueSizes(
            ready=main_counts[_READY],
            delayed=main_counts[_DELAYED] + sum(later_counts.values()),
            in_flight=main_counts[_IN_FLIGHT],
            dead=dead_counts[_READY] + dead_counts[_IN_FLIGHT],
        )

    def _counts(self, sqs_queue: SqsQueue | None) -> dict[str, int]:
        names = (_READY, _DELAYED, _IN_FLIGHT)
        found = self._queues.attributes(sqs_queue, *names) if sqs_queue else {}
        return {name: int(found.get(name, 0)) for name in names}

    def _drop(self, receipts: Sequence[Receipt]) -> int:
        self._settler.delete(receipts)
        return sum(each.settled for each in receipts)

    def _replay(self, receipts: Sequence[Receipt]) -> int:
        stored = [evolve(each.stored, dead_letter=None, replayed=True, earlier_deliveries=0) for each in receipts]
        result = self._publisher.republish(stored, Role.MAIN)
        published = [each for number, each in enumerate(receipts) if result.has(number)]
        self._settler.delete(published)
        if result.errors:
            raise result.errors[0]
        return len(published)

    def _batches(self, queue: str, sqs_queue: SqsQueue) -> Iterator[list[Receipt]]:
        """Receive all messages of this queue in rounds. They are hidden from others, and the caller settles them.

        If there are more than SQS returns while the first are hidden, those come again. That ends the iteration.
        """
        foreign: list[Receipt] = []
        seen: set[str] = set()
        try:
            empty = False
            while not empty:
                found, errors = self._receive_round(queue, sqs_queue)
                again = [each for each in found if each.message_id in seen]
                fresh = [each for each in found if each.message_id not in seen]
                seen.update(each.message_id for each in fresh)
                foreign += [*again, *(each for each in fresh if self._is_foreign(queue, each))]
                yield [each for each in fresh if not self._is_foreign(queue, each)]
                if errors:
                    raise errors[0]
                empty = not fresh
        finally:
            self._release(foreign)

    def _receive_round(self, queue: str, sqs_queue: SqsQueue) -> tuple[list[Receipt], list[ServiceError]]:
        """Make as many receive calls at once as SQS reports messages for. Return the messages and the errors."""
        expected = int(self._queues.attributes(sqs_queue, _READY)[_READY])
        number = min(max(1, -(-expected // BATCH_ENTRIES)), _ROUND // BATCH_ENTRIES)
        # A single call waits, because only a long poll asks all servers of SQS.
        wait = 1 if 0 < expected < BATCH_ENTRIES else 0
        calls: list[Callable[[], list[Receipt]]] = [partial(self._receive, queue, sqs_queue, wait)] * number
        found: list[Receipt] = []
        errors: list[ServiceError] = []
        for outcome in self._api.call_all(calls):
            if isinstance(outcome, ServiceError):
                errors.append(outcome)
            else:
                found += outcome
        return found, errors

    def _release(self, receipts: Sequence[Receipt]) -> None:
        """Make messages visible again, except those that already are."""
        now = self._clock.monotonic()
        self._settler.release([each for each in receipts if each.is_open(now)])

    def _is_foreign(self, queue: str, receipt: Receipt) -> bool:
        """Whether it is a dead letter of another queue with the same dead-letter queue."""
        cause = receipt.stored.dead_letter
        return cause is not None and cause.source != self._queues.name(queue)

    def _receive(self, queue: str, sqs_queue: SqsQueue, wait_seconds: int) -> list[Receipt]:
        began = self._clock.monotonic()
        answer = self._api.call(
            "ReceiveMessage",
            sqs_queue.name,
            QueueUrl=sqs_queue.url,
            MaxNumberOfMessages=BATCH_ENTRIES,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=_HIDING_SECONDS,
            AttributeNames=list(_ATTRIBUTES),
            MessageAttributeNames=["All"],
        )
        return [self._receipt(queue, sqs_queue, raw, began) for raw in answer.get("Messages", ())]

    def _receipt(self, queue: str, sqs_queue: SqsQueue, raw: Mapping[str, Any], began: float) -> Receipt:
        stored = decode(raw, queue)
        attributes = raw.get("Attributes", {})
        if stored.dead_letter is None and sqs_queue.name != self._queues.name(queue):
            source = attributes.get("DeadLetterQueueSourceArn", "").rpartition(":")[2] or self._queues.name(queue)
            reason = f"SQS has moved it here, by the redrive policy of {source}"
            cause = DeadLetterCause(reason, int(attributes.get("SentTimestamp", 0)) / 1000, source)
            stored = evolve(stored, dead_letter=cause)
        return Receipt(
            queue=sqs_queue,
            handle=raw["ReceiptHandle"],
            message_id=raw["MessageId"],
            stored=stored,
            delivery_count=int(attributes.get("ApproximateReceiveCount", 1)),
            received_at=self._clock.now(),
            held_since=began,
            held_until=began + _HIDING_SECONDS,
        )


def _dead_since(receipt: Receipt) -> float:
    return receipt.stored.dead_letter.at if receipt.stored.dead_letter else 0.0
