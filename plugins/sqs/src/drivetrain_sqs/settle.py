"""Settling deliveries: acknowledge, release, dead-letter, extend.

SQS does not say whether a receipt handle is still the newest one of its message. A stale handle may delete or hide a
message that another consumer holds by now. So the driver does nothing with a message after its hold may have ended.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from attrs import define, frozen

from drivetrain.contract import Clock, Delivery, ServiceError, chunks, evolve, whole_units
from drivetrain_sqs.codec import StoredMessage
from drivetrain_sqs.connection import Api
from drivetrain_sqs.errors import entry_error, is_missing_queue, plain
from drivetrain_sqs.limits import BATCH_ENTRIES, LONGEST_DELAY_SECONDS, LONGEST_HOLD_SECONDS
from drivetrain_sqs.publish import Publisher
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import SqsQueue

__all__ = ["Receipt", "Settler", "visibility"]

#: Added to a hold, so that a settlement that comes a little late is still safe.
_LEAST_GRACE_SECONDS, _MOST_GRACE_SECONDS = 0.5, 3.0
#: Longer delays are republished with a delay. SQS allows 120,000 messages in flight, and a hidden one counts as such.
_LONGEST_HIDING_SECONDS = 60.0
#: Republishing and then deleting a message needs a hold of at least the first; a shorter one is extended to the second.
_NEEDED_SECONDS, _EXTENDED_SECONDS = 5.0, 30.0
#: Codes of an entry whose handle has no effect any more, even if SQS does not blame the sender.
_STALE = frozenset(
    {
        "InvalidIdFormat",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "InvalidReceiptHandle",
        "MessageNotInflight",
        "ReceiptHandleIsInvalid",
    }
)


@define(eq=False)
class Receipt:
    """The handle to settle one delivery, once; with the time until which its hold is certain."""

    queue: SqsQueue
    handle: str
    #: The id that SQS gave to the message.
    message_id: str
    stored: StoredMessage
    #: How often the message was delivered, this time included.
    delivery_count: int
    #: Unix seconds.
    received_at: float
    #: Both in monotonic seconds.
    held_since: float
    held_until: float
    settled: bool = False

    @property
    def due(self) -> float:
        """The time from which the message may be delivered, in Unix seconds. Deliveries are in this order."""
        eta = self.stored.message.eta
        if eta is None or math.isnan(eta):  # NaN has no order: in a heap, it would block other messages
            return self.received_at
        # In a FIFO queue, a message that is due already stays in the order of arrival.
        return max(eta, self.received_at) if self.queue.fifo else eta

    def whole_seconds_to_due(self, now: float) -> int:
        """The seconds until it is due, rounded down."""
        return int(max(0.0, min(self.due - now, float(LONGEST_DELAY_SECONDS))))

    def is_open(self, now: float) -> bool:
        """Whether it is not settled, and this consumer certainly still holds the message."""
        return not self.settled and now < self.held_until


def visibility(hold_seconds: float, held_seconds: float = 0.0) -> int:
    """The visibility timeout for a hold, in whole seconds, within SQS's limit.

    Args:
        hold_seconds: how long to hold the message from now.
        held_seconds: how long it was held already; SQS allows twelve hours in all.
    """
    hold = max(0.0, min(hold_seconds, float(LONGEST_HOLD_SECONDS)))
    grace = min(max(_LEAST_GRACE_SECONDS, hold / 10), _MOST_GRACE_SECONDS)
    return max(0, min(math.ceil(hold + grace), LONGEST_HOLD_SECONDS - math.ceil(held_seconds)))


@frozen
class _Change:
    """A pending call for one message."""

    receipt: Receipt
    #: The new visibility timeout in seconds; None: delete the message.
    seconds: int | None


class Settler:
    """Settles receipts. Thread-safe. A repeated call settles only the receipts that failed before."""

    def __init__(self, api: Api, publisher: Publisher, clock: Clock, *, fifo: bool) -> None:
        self._api = api
        self._publisher = publisher
        self._clock = clock
        self._fifo = fifo
        self._lock = threading.Lock()
        #: Receipts that a thread settles at this moment. The lock guards it.
        self._claimed: set[Receipt] = set()

    @contextmanager
    def claim(self, deliveries: Iterable[Delivery]) -> Iterator[list[Receipt]]:
        """Claim the open receipts of deliveries until the end of the block. Only the claimer may settle them."""
        with self._lock:
            claimed = self._open_receipts(deliveries)
            self._claimed.update(claimed)
        try:
            yield claimed
        finally:
            with self._lock:
                self._claimed.difference_update(claimed)

    def is_claimed(self, receipt: Receipt) -> bool:
        """Whether a thread settles this receipt at this moment."""
        with self._lock:
            return receipt in self._claimed

    def open_receipts(self, deliveries: Iterable[Delivery]) -> list[Receipt]:
        """The receipts that are not settled, not claimed and certainly still held, each once."""
        with self._lock:
            return self._open_receipts(deliveries)

    def _open_receipts(self, deliveries: Iterable[Delivery]) -> list[Receipt]:
        now = self._clock.monotonic()
        found = dict.fromkeys(each.receipt for each in deliveries)
        return [receipt for receipt in found if receipt.is_open(now) and receipt not in self._claimed]

    def delete(self, receipts: Sequence[Receipt]) -> None:
        """Delete messages."""
        self._settle([_Change(receipt, None) for receipt in receipts])

    def release(self, receipts: Sequence[Receipt], delay_seconds: float = 0.0) -> None:
        """Make messages ready again, now or after a delay."""
        if delay_seconds > _LONGEST_HIDING_SECONDS and not self._fifo:
            self._republish_delayed(receipts, delay_seconds)
            return
        # Rounded up, because a message must not come early.
        seconds = whole_units(delay_seconds, per_second=1, longest_seconds=LONGEST_DELAY_SECONDS)
        self._settle([_Change(receipt, seconds) for receipt in receipts])

    def hide(self, changes: Sequence[tuple[Receipt, int]]) -> None:
        """Release messages, each after its number of seconds."""
        self._settle([_Change(receipt, seconds) for receipt, seconds in changes])

    def extend(self, receipts: Sequence[Receipt], hold_seconds: float) -> None:
        """Extend holds. Marks receipts whose hold has ended as settled.

        Raises:
            ServiceError: some calls failed; these messages are held as long as before.
        """
        began = self._clock.monotonic()
        changes = [_Change(each, visibility(hold_seconds, began - each.held_since)) for each in receipts]
        done, error = self._change([each for each in changes if each.seconds])
        for change in done:
            change.receipt.held_until = began + (change.seconds or 0)
        for change in changes:
            if not change.seconds:
                change.receipt.settled = True  # SQS's twelve hours have passed
        if error is not None:
            raise error

    def dead_letter(self, reasons: Sequence[tuple[Receipt, str]]) -> None:
        """Publish messages to the dead-letter queue, each with its reason; then delete them."""
        reason_of = {id(receipt): reason for receipt, reason in reasons}
        receipts = self._held_long_enough([receipt for receipt, _ in reasons])
        dead = [self._publisher.as_dead_letter(_counted(each), reason_of[id(each)]) for each in receipts]
        self._replace(receipts, dead, Role.DEAD)

    def _held_long_enough(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Those that are held long enough to republish the message and then delete it."""
        now = self._clock.monotonic()
        short = [each for each in receipts if each.held_until - now < _NEEDED_SECONDS]
        if short:
            self.extend(short, _EXTENDED_SECONDS)
        return [each for each in receipts if each.is_open(now)]

    def _republish_delayed(self, receipts: Sequence[Receipt], delay_seconds: float) -> None:
        eta = self._clock.now() + delay_seconds
        held = self._held_long_enough(receipts)
        counted = [_counted(receipt) for receipt in held]
        self._replace(held, [evolve(each, message=evolve(each.message, eta=eta)) for each in counted], None)

    def _replace(self, receipts: Sequence[Receipt], stored: Sequence[StoredMessage], role: Role | None) -> None:
        # In this order, a crash between the two calls leaves two copies. The other order would lose the message.
        result = self._publisher.republish(stored, role)
        self.delete([receipt for number, receipt in enumerate(receipts) if result.has(number)])
        if result.errors:
            raise result.errors[0]

    def _settle(self, changes: Sequence[_Change]) -> None:
        done, error = self._change(changes)
        for change in done:
            change.receipt.settled = True
        if error is not None:
            raise error

    def _change(self, changes: Sequence[_Change]) -> tuple[list[_Change], ServiceError | None]:
        """Make the calls. Return the changes that SQS has made, and the first error of the others."""
        by_queue: dict[SqsQueue, list[_Change]] = {}
        for change in changes:
            by_queue.setdefault(change.receipt.queue, []).append(change)
        calls: list[Callable[[], tuple[list[_Change], ServiceError | None]]] = [
            partial(self._call, queue, batch)
            for queue, some in by_queue.items()
            for batch in chunks(some, BATCH_ENTRIES)
        ]
        done: list[_Change] = []
        errors: list[ServiceError] = []
        for outcome in self._api.call_all(calls) if calls else ():
            if isinstance(outcome, ServiceError):
                errors.append(outcome)
                continue
            done += outcome[0]
            errors += [outcome[1]] if outcome[1] is not None else []
        return done, errors[0] if errors else None

    def _call(self, queue: SqsQueue, batch: Sequence[_Change]) -> tuple[list[_Change], ServiceError | None]:
        deletes = batch[0].seconds is None
        operation = "DeleteMessageBatch" if deletes else "ChangeMessageVisibilityBatch"
        entries = [_entry(key, change) for key, change in enumerate(batch)]
        try:
            answer = self._api.call(operation, queue.name, QueueUrl=queue.url, Entries=entries)
        except ServiceError as error:
            if not is_missing_queue(error):
                raise
            # The queue was deleted with its messages.
            for change in batch:
                change.receipt.settled = True
            return [], None
        return _read_answer(answer, queue, batch, operation.removesuffix("Batch"))


def _read_answer(
    answer: Mapping[str, Any], queue: SqsQueue, batch: Sequence[_Change], action: str
) -> tuple[list[_Change], ServiceError | None]:
    error: ServiceError | None = None
    for failed in answer.get("Failed", ()):
        status = 0 if failed.get("SenderFault", True) else 500
        code = failed.get("Code", "")
        if plain(code) in _STALE:
            # The message is settled, or another consumer holds it.
            batch[int(failed["Id"])].receipt.settled = True
        else:
            # Any other error, for example a missing permission, leaves the message as it is.
            error = entry_error(code, failed.get("Message", ""), action, queue.name, status=status)
    return [batch[int(each["Id"])] for each in answer.get("Successful", ())], error


def _entry(key: int, change: _Change) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(key), "ReceiptHandle": change.receipt.handle}
    if change.seconds is not None:
        entry["VisibilityTimeout"] = min(change.seconds, LONGEST_HOLD_SECONDS)
    return entry


def _counted(receipt: Receipt) -> StoredMessage:
    """The message to republish: SQS will count its deliveries from 0, so it carries the count so far."""
    return evolve(receipt.stored, earlier_deliveries=receipt.delivery_count)
