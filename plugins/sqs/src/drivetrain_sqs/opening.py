"""What becomes of messages as they arrive: most are for the caller, some have come too early."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from drivetrain.contract import Clock, ServiceError
from drivetrain_sqs.names import Role
from drivetrain_sqs.receipts import TRANSIT_SECONDS, Receipt
from drivetrain_sqs.sending import EARLY_SECONDS, Sender, seconds_to
from drivetrain_sqs.settling import Settler
from drivetrain_sqs.source import Source
from drivetrain_sqs.wire import load

__all__ = ["Opener"]

logger = logging.getLogger("drivetrain.sqs")

#: How much longer than SQS waits a call may take on its way there.
_SLOW_SECONDS = 2.0


class Opener:
    """Opens messages that were received. Thread-safe."""

    def __init__(self, sender: Sender, settler: Settler, clock: Clock) -> None:
        self._sender = sender
        self._settler = settler
        self._clock = clock
        self._lock = threading.Lock()
        #: By SQS's ids of messages, as long as anybody has them.
        self._held: WeakValueDictionary[str, Receipt] = WeakValueDictionary()

    def open(
        self, source: Source, raws: Sequence[Mapping[str, Any]], *, began: float, waited: float, hidden: int
    ) -> list[Receipt]:
        """Those that are for the caller, now or in a moment.

        Args:
            source: where they came from.
            raws: as they came.
            began: when they were asked for, in monotonic seconds.
            waited: how long SQS was to wait for them at most, in seconds.
            hidden: their visibility timeout, in seconds.
        """
        # They were hidden after they were asked for and not long before they came; but if they come much later than
        # SQS can have waited, then this process was asleep meanwhile.
        since = max(began, min(self._clock.monotonic() - TRANSIT_SECONDS, began + waited + _SLOW_SECONDS))
        receipts = [each for raw in raws if (each := self._new(source, raw, since, hidden)) is not None]
        now = self._clock.now()
        soon = [each for each in receipts if seconds_to(each.envelope.message.eta, now) <= EARLY_SECONDS]
        near = set(map(id, soon))
        self._hide([each for each in receipts if id(each) not in near], now)
        if source.role is Role.MAIN:
            return soon
        self._move(soon)
        return []

    def _new(self, source: Source, raw: Mapping[str, Any], since: float, hidden: int) -> Receipt | None:
        """The receipt of a message; None if it is held here already, for SQS delivers some twice."""
        with self._lock:
            held = self._held.get(raw["MessageId"])
            if held is not None and held.open(since):
                # Only the newest handle is sure to do what it is told.
                held.handle, held.sure_until = raw["ReceiptHandle"], since + hidden
                return None
            receipt = self._held[raw["MessageId"]] = self._receipt(source, raw, since, hidden)
            return receipt

    def _receipt(self, source: Source, raw: Mapping[str, Any], since: float, hidden: int) -> Receipt:
        envelope = load(raw, source.queue)
        received = int(raw.get("Attributes", {}).get("ApproximateReceiveCount", 1))
        return Receipt(
            queue=source.where,
            handle=raw["ReceiptHandle"],
            message_id=raw["MessageId"],
            envelope=envelope,
            count=envelope.handed_out + received,
            came_at=self._clock.now(),
            received_at=since,
            sure_until=since + hidden,
        )

    def _hide(self, receipts: Sequence[Receipt], now: float) -> None:
        """Give back what came far too early; SQS hides it for most of the rest."""
        try:
            self._settler.hide([(each, each.seconds_to_due(now)) for each in receipts])
        except ServiceError as error:
            logger.debug("messages that are not due come again when their hold ends: %s", error)

    def _move(self, receipts: Sequence[Receipt]) -> None:
        """Send what has become due to its FIFO queue, which takes it once however often it is sent within 5 minutes."""
        if not receipts:
            return
        once = [f"later-{each.message_id}" for each in receipts]
        sent = self._sender.send([each.envelope for each in receipts], Role.MAIN, once)
        self._settler.delete([each for number, each in enumerate(receipts) if sent.has(number)])
        errors = [*sent.unknown.values(), *sent.refused.values()]
        if errors:
            raise errors[0]
