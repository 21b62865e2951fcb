"""Settling what was received: deleting it, giving it back, holding it longer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from drivetrain.contract import Clock, Delivery, ServiceError, evolve
from drivetrain_sqs.errors import entry_error, is_missing_queue, plain
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS, LONGEST_HOLD_SECONDS
from drivetrain_sqs.names import Role
from drivetrain_sqs.packing import by_number
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.receipts import Receipt, visibility
from drivetrain_sqs.sending import Sender
from drivetrain_sqs.service import Service
from drivetrain_sqs.wire import Envelope

__all__ = ["Settler"]

#: Longer delays are not waited for in flight, where there is room for 120,000 messages, but sent again with a delay.
_LONGEST_HIDING_SECONDS = 60.0
#: What must still be left of a hold to send a message elsewhere and then delete it here, and what is taken, in seconds.
_LEFT_SECONDS, _TAKEN_SECONDS = 5.0, 30.0
#: Codes of an entry whose handle does nothing any more, whoever SQS says is at fault.
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


@frozen
class _Change:
    """What is to become of one message."""

    receipt: Receipt
    #: The new visibility timeout in seconds; None: the message is deleted.
    seconds: int | None


class Settler:
    """Settles receipts. Thread-safe; may be asked again for what has failed, and does only what is left."""

    def __init__(self, service: Service, sender: Sender, clock: Clock, *, fifo: bool) -> None:
        self._service = service
        self._sender = sender
        self._clock = clock
        self._fifo = fifo

    def open(self, deliveries: Iterable[Delivery]) -> list[Receipt]:
        """The receipts that are not settled and surely still ours, each once."""
        now = self._clock.monotonic()
        found: dict[int, Receipt] = {id(each.receipt): each.receipt for each in deliveries}
        return [receipt for receipt in found.values() if receipt.open(now)]

    def delete(self, receipts: Sequence[Receipt]) -> None:
        """Remove messages for good."""
        self._settle([_Change(receipt, None) for receipt in receipts])

    def release(self, receipts: Sequence[Receipt], delay_seconds: float = 0.0) -> None:
        """Give messages back, now or after a delay."""
        if delay_seconds > _LONGEST_HIDING_SECONDS and not self._fifo:
            self._send_later(receipts, delay_seconds)
            return
        # Rounded up, for it must not come early; and it is no one's from now, so SQS's own twelve hours are kept.
        seconds = math.ceil(max(0.0, min(delay_seconds, LONGEST_DELAY_SECONDS)))
        self._settle([_Change(receipt, seconds) for receipt in receipts])

    def hide(self, changes: Sequence[tuple[Receipt, int]]) -> None:
        """Give messages back, each for others to see after so many seconds."""
        self._settle([_Change(receipt, seconds) for receipt, seconds in changes])

    def extend(self, receipts: Sequence[Receipt], hold_seconds: float) -> None:
        """Hold messages longer; those that are not held any more are marked as settled.

        Raises:
            ServiceError: not known of all whether they are held longer; they are still, as long as they were.
        """
        began = self._clock.monotonic()
        changes = [_Change(each, visibility(hold_seconds, began - each.received_at)) for each in receipts]
        done, error = self._change([each for each in changes if each.seconds])
        for change in done:
            change.receipt.sure_until = began + (change.seconds or 0)
        for change in changes:
            if not change.seconds:
                change.receipt.settled = True  # its twelve hours are over
        if error is not None:
            raise error

    def bury(self, letters: Sequence[tuple[Receipt, str]]) -> None:
        """Send messages to the dead letters, then delete them."""
        reasons = {id(receipt): reason for receipt, reason in letters}
        receipts = self._lasting([receipt for receipt, _ in letters])
        self._replace(
            receipts, [self._sender.buried(_counted(each), reasons[id(each)]) for each in receipts], Role.DEAD
        )

    def _lasting(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Those that are held long enough to be sent elsewhere and then deleted here."""
        now = self._clock.monotonic()
        short = [each for each in receipts if each.sure_until - now < _LEFT_SECONDS]
        if short:
            self.extend(short, _TAKEN_SECONDS)
        return [each for each in receipts if each.open(now)]

    def _send_later(self, receipts: Sequence[Receipt], delay_seconds: float) -> None:
        eta = self._clock.now() + delay_seconds
        lasting = self._lasting(receipts)
        envelopes = [_counted(receipt) for receipt in lasting]
        later = [evolve(each, message=evolve(each.message, eta=eta)) for each in envelopes]
        self._replace(lasting, later, None)

    def _replace(self, receipts: Sequence[Receipt], envelopes: Sequence[Envelope], role: Role | None) -> None:
        # In this order: a crash between the two leaves a message twice, and never not at all.
        sent = self._sender.send(envelopes, role)
        self.delete([receipt for number, receipt in enumerate(receipts) if sent.has(number)])
        errors = [*sent.unknown.values(), *sent.refused.values()]
        if errors:
            raise errors[0]

    def _settle(self, changes: Sequence[_Change]) -> None:
        done, error = self._change(changes)
        for change in done:
            change.receipt.settled = True
        if error is not None:
            raise error

    def _change(self, changes: Sequence[_Change]) -> tuple[list[_Change], ServiceError | None]:
        """Those that were done, and what went wrong with others, if anything."""
        by_queue: dict[SqsQueue, list[_Change]] = {}
        for change in changes:
            by_queue.setdefault(change.receipt.queue, []).append(change)
        calls: list[Callable[[], tuple[list[_Change], ServiceError | None]]] = [
            partial(self._call, queue, batch) for queue, some in by_queue.items() for batch in by_number(some)
        ]
        done: list[_Change] = []
        errors: list[ServiceError] = []
        for outcome in self._service.together(calls) if calls else ():
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
            answer = self._service.call(operation, queue.name, QueueUrl=queue.url, Entries=entries)
        except ServiceError as error:
            if not is_missing_queue(error):
                raise
            # The queue was deleted, and its messages with it.
            for change in batch:
                change.receipt.settled = True
            return [], None
        return self._sorted(answer, queue, batch, operation.removesuffix("Batch"))

    def _sorted(
        self, answer: Mapping[str, Any], queue: SqsQueue, batch: Sequence[_Change], action: str
    ) -> tuple[list[_Change], ServiceError | None]:
        error: ServiceError | None = None
        for failed in answer.get("Failed", ()):
            status = 0 if failed.get("SenderFault", True) else 500
            code = failed.get("Code", "")
            if plain(code) in _STALE:
                # The handle is no longer right: the message is settled, or somebody else's.
                batch[int(failed["Id"])].receipt.settled = True
            else:
                # Anything else, a missing permission too, leaves the message as it is, and must be told.
                error = entry_error(code, failed.get("Message", ""), action, queue.name, status=status)
        return [batch[int(each["Id"])] for each in answer.get("Successful", ())], error


def _entry(key: int, change: _Change) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(key), "ReceiptHandle": change.receipt.handle}
    return (
        entry if change.seconds is None else {**entry, "VisibilityTimeout": min(change.seconds, LONGEST_HOLD_SECONDS)}
    )


def _counted(receipt: Receipt) -> Envelope:
    """The envelope of a message that is sent again, when SQS counts anew."""
    return evolve(receipt.envelope, handed_out=receipt.count)
