"""Looking into queues and emptying them: SQS can only receive, so what is looked at is hidden for that time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from drivetrain.contract import Clock, Message, QueueSection, QueueSizes, ServiceError, evolve
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.names import Role
from drivetrain_sqs.options import Options
from drivetrain_sqs.queues import Queues, SqsQueue
from drivetrain_sqs.receipts import Receipt
from drivetrain_sqs.sending import Sender
from drivetrain_sqs.service import Service
from drivetrain_sqs.settling import Settler
from drivetrain_sqs.wire import Death, load

__all__ = ["Letters"]

#: For how long what is looked at is hidden, in seconds; it is shown again as soon as that is done.
_HIDING_SECONDS = 60
#: How many dead letters are sorted to show the oldest of them.
_SORTED = 1000
#: How many messages one round of draining has in flight.
_ROUND = 500
_READY = "ApproximateNumberOfMessages"
_DELAYED = "ApproximateNumberOfMessagesDelayed"
_HELD = "ApproximateNumberOfMessagesNotVisible"
_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "DeadLetterQueueSourceArn")


class Letters:
    """Sizes, dead letters and purges. Thread-safe."""

    def __init__(
        self, *, service: Service, queues: Queues, sender: Sender, settler: Settler, clock: Clock, options: Options
    ) -> None:
        self._service = service
        self._queues = queues
        self._sender = sender
        self._settler = settler
        self._clock = clock
        self._options = options

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        names = list(dict.fromkeys(queues))
        calls: list[Callable[[], QueueSizes]] = [partial(self._sizes, name) for name in names]
        outcomes = self._service.together(calls) if calls else []
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                raise outcome
        return {name: size for name, size in zip(names, outcomes, strict=True) if isinstance(size, QueueSizes)}

    def peek_dead(self, queue: str, limit: int) -> Sequence[Message]:
        """See `Broker.peek`; of very many, the oldest of those that came first."""
        dead = self._queues.look_dead(queue) if limit > 0 else None
        if dead is None:
            return []
        found: list[Receipt] = []
        try:
            for batch in self._batches(queue, dead):
                found += batch
                if len(found) >= max(_SORTED, min(limit, 10 * _SORTED)):
                    break
        finally:
            self._give_back(found)
        found.sort(key=_died_at)
        return [each.envelope.shown() for each in found[:limit]]

    def replay(self, queue: str, message_ids: Sequence[str] | None) -> int:
        """See `Broker.replay`."""
        return self._with_chosen(queue, message_ids, self._replay)

    def drop_dead(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        return self._with_chosen(queue, message_ids, self._drop)

    def _with_chosen(
        self, queue: str, message_ids: Sequence[str] | None, do: Callable[[Sequence[Receipt]], int]
    ) -> int:
        """Do something with the dead letters of these ids (None: with all); the sum of what it counts."""
        wanted = None if message_ids is None else frozenset(message_ids)
        dead = self._queues.look_dead(queue) if wanted is None or wanted else None
        if dead is None:
            return 0
        counted, others = 0, list[Receipt]()
        try:
            for batch in self._batches(queue, dead):
                chosen = [each for each in batch if wanted is None or each.envelope.message.id in wanted]
                others += [each for each in batch if each not in chosen]
                counted += do(chosen)
        finally:
            self._give_back(others)
        return counted

    def purge(self, queue: str, place: QueueSection) -> int:
        """See `Broker.purge`; not for what is delayed."""
        where = self._queues.look_dead(queue) if place is QueueSection.DEAD else self._queues.look(queue)
        if where is None:
            return 0
        dropped = 0
        for batch in self._batches(queue, where):
            dropped += self._drop(batch)
        return dropped

    def _sizes(self, queue: str) -> QueueSizes:
        main, dead = self._queues.look(queue), self._queues.look_dead(queue)
        later = self._queues.look(queue, Role.LATER) if self._options.fifo else None
        told, waiting = self._counts(main), self._counts(later)
        # Letters that somebody looks at are no fewer.
        gone = self._counts(dead)
        return QueueSizes(
            ready=told[_READY],
            delayed=told[_DELAYED] + sum(waiting.values()),
            held=told[_HELD],
            dead=gone[_READY] + gone[_HELD],
        )

    def _counts(self, where: SqsQueue | None) -> dict[str, int]:
        names = (_READY, _DELAYED, _HELD)
        found = self._queues.attributes(where, *names) if where else {}
        return {name: int(found.get(name, 0)) for name in names}

    def _drop(self, receipts: Sequence[Receipt]) -> int:
        self._settler.delete(receipts)
        return sum(each.settled for each in receipts)

    def _replay(self, receipts: Sequence[Receipt]) -> int:
        envelopes = [evolve(each.envelope, death=None, replayed=True, handed_out=0) for each in receipts]
        sent = self._sender.send(envelopes, Role.MAIN)
        there = [each for number, each in enumerate(receipts) if sent.has(number)]
        errors = [*sent.unknown.values(), *sent.refused.values()]
        self._settler.delete(there)
        if errors:
            raise errors[0]
        return len(there)

    def _batches(self, queue: str, where: SqsQueue) -> Iterator[list[Receipt]]:
        """All messages that lie there and are of this queue, hidden from others; the caller settles them.

        Where there are more than can be received while the first are hidden, these come again, and that is the end.
        """
        foreign: list[Receipt] = []
        seen: set[str] = set()
        try:
            empty = False
            while not empty:
                expected = int(self._queues.attributes(where, _READY)[_READY])
                number = min(max(1, -(-expected // BATCH_ENTRIES)), _ROUND // BATCH_ENTRIES)
                # Where there is one call only, it asks all of SQS's servers, for there may be few messages on many.
                wait = 1 if 0 < expected < BATCH_ENTRIES else 0
                calls: list[Callable[[], list[Receipt]]] = [partial(self._receive, queue, where, wait)] * number
                found: list[Receipt] = []
                errors: list[ServiceError] = []
                for outcome in self._service.together(calls):
                    if isinstance(outcome, ServiceError):
                        errors.append(outcome)
                    else:
                        found += outcome
                again = [each for each in found if each.message_id in seen]
                fresh = [each for each in found if each.message_id not in seen]
                seen.update(each.message_id for each in fresh)
                foreign += [*again, *(each for each in fresh if self._is_foreign(queue, each))]
                yield [each for each in fresh if not self._is_foreign(queue, each)]
                if errors:
                    raise errors[0]
                empty = not fresh
        finally:
            self._give_back(foreign)

    def _give_back(self, receipts: Sequence[Receipt]) -> None:
        """Show these to others again, but for those that have shown themselves by now."""
        now = self._clock.monotonic()
        self._settler.release([each for each in receipts if each.open(now)])

    def _is_foreign(self, queue: str, receipt: Receipt) -> bool:
        """Whether it is a letter of another queue, of those that share this place."""
        death = receipt.envelope.death
        return death is not None and death.source != self._queues.name(queue)

    def _receive(self, queue: str, where: SqsQueue, wait_seconds: int) -> list[Receipt]:
        began = self._clock.monotonic()
        answer = self._service.call(
            "ReceiveMessage",
            where.name,
            QueueUrl=where.url,
            MaxNumberOfMessages=BATCH_ENTRIES,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=_HIDING_SECONDS,
            AttributeNames=list(_ATTRIBUTES),
            MessageAttributeNames=["All"],
        )
        return [self._receipt(queue, where, raw, began) for raw in answer.get("Messages", ())]

    def _receipt(self, queue: str, where: SqsQueue, raw: Mapping[str, Any], began: float) -> Receipt:
        envelope = load(raw, queue)
        told = raw.get("Attributes", {})
        if envelope.death is None and where.name != self._queues.name(queue):
            source = told.get("DeadLetterQueueSourceArn", "").rpartition(":")[2] or self._queues.name(queue)
            reason = f"SQS has moved it here, by the redrive policy of {source}"
            envelope = evolve(envelope, death=Death(reason, int(told.get("SentTimestamp", 0)) / 1000, source))
        return Receipt(
            queue=where,
            handle=raw["ReceiptHandle"],
            message_id=raw["MessageId"],
            envelope=envelope,
            count=int(told.get("ApproximateReceiveCount", 1)),
            came_at=self._clock.now(),
            received_at=began,
            sure_until=began + _HIDING_SECONDS,
        )


def _died_at(receipt: Receipt) -> float:
    return receipt.envelope.death.at if receipt.envelope.death else 0.0
