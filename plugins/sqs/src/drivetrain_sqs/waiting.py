"""What has come and was not handed out yet: kept for who asks in a moment, and given back when nobody does."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence

from attrs import frozen

from drivetrain.contract import Clock, Delivery, ServiceError
from drivetrain_sqs.names import Role
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.receipts import Receipt
from drivetrain_sqs.settling import Settler
from drivetrain_sqs.source import Source

__all__ = ["Call", "Waiting"]

logger = logging.getLogger("drivetrain.sqs")

#: How long what nobody asks for is kept, in seconds.
_LINGER_SECONDS = 1.0


@frozen
class Call:
    """One call of `receive`."""

    limit: int
    hold_seconds: float
    #: Monotonic seconds.
    deadline: float
    #: Since when `receive` was called again and again, with no pause between; monotonic seconds.
    asking_since: float
    #: How often the broker had been closed when it began.
    closings: int


class Waiting:
    """The queues that are received from, and what came of them. Thread-safe."""

    def __init__(self, settler: Settler, clock: Clock) -> None:
        self._settler = settler
        self._clock = clock
        #: Held for all that follows, and for what is in sources; never during a call to the service.
        self.changed = threading.Condition()
        self.closings = 0
        self._sources: dict[tuple[str, Role], Source] = {}
        self._receiving = False
        self._kept_since = 0.0
        self._keeping = False

    def source(self, queue: str, role: Role, where: SqsQueue) -> Source:
        """The queue, of which nothing is known to be wrong."""
        with self.changed:
            source = self._sources.setdefault((queue, role), Source(queue, role, where))
            source.where, source.error = where, None
        return source

    def is_closed(self, call: Call) -> bool:
        """Whether the broker was closed since the call began."""
        return self.closings != call.closings

    def begin(self) -> None:
        """Somebody asks. The condition is held."""
        self._receiving = True

    def end(self) -> None:
        """Nobody asks any more. The condition is held."""
        self._receiving = False
        self.keep()

    def arrived(self, source: Source, call: Call) -> list[Receipt]:
        """See to what a poll has brought; what is to be given back at once. The condition is held."""
        left = source.take_all() if self.is_closed(call) and not self._receiving else []
        self.keep()
        self.changed.notify_all()
        return left

    def hand_out(self, sources: Sequence[Source], call: Call, room: int) -> list[Delivery]:
        """What is due and surely held, in the order of ``sources``."""
        now, instant = self._clock.now(), self._clock.monotonic()
        with self.changed:
            found: list[Receipt] = []
            for source in sources:
                found += source.take_due(now, room - len(found))
        receipts = [receipt for receipt in found if receipt.open(instant)]
        # What has waited here is held for the rest of its time only.
        short = [receipt for receipt in receipts if receipt.sure_until - instant < call.hold_seconds]
        self._prolong(short, call.hold_seconds)
        return [_delivery(receipt) for receipt in receipts if receipt.open(instant)]

    def put_off(self, sources: Sequence[Source], limit: int) -> None:
        """Give back what is more than ``limit`` messages of a queue, until they are due.

        Of thousands that are due in a second, as when a service was away and all is tried again, a worker takes no more
        than it asked for; and what is behind them and ready need not wait. SQS hides them for whole seconds, rounded
        up: these come late by less than one.
        """
        now, instant = self._clock.now(), self._clock.monotonic()
        with self.changed:
            surplus = [receipt for source in sources for receipt in source.take_beyond(limit)]
        self._hide([(each, math.ceil(max(0.0, each.due - now))) for each in surplus if each.open(instant)])

    def take(self, queue: str) -> list[Receipt]:
        """Take all of a queue; it is still hidden from others."""
        with self.changed:
            found = [source for (name, _), source in self._sources.items() if name == queue]
            return [receipt for source in found for receipt in source.take_all()]

    def close(self) -> None:
        """Wake who waits, and give back what was not handed out."""
        with self.changed:
            self.closings += 1
            left = self._take_all()
            self.changed.notify_all()
        self.give_back(left)

    def give_back(self, receipts: Sequence[Receipt]) -> None:
        """Let others have these, when they are due."""
        now, instant = self._clock.now(), self._clock.monotonic()
        self._hide([(each, each.seconds_to_due(now)) for each in receipts if each.open(instant)])

    def keep(self) -> None:
        """See to it that what nobody asks for is given back. The condition is held."""
        self._kept_since = self._clock.monotonic()
        if not self._keeping and not self._receiving and any(map(len, self._sources.values())):
            threading.Thread(target=self._give_back_later, name="drivetrain-sqs-keep", daemon=True).start()
            self._keeping = True

    def _give_back_later(self) -> None:
        with self.changed:
            while not self._receiving and any(map(len, self._sources.values())):
                left = self._kept_since + _LINGER_SECONDS - self._clock.monotonic()
                if left <= 0:
                    break
                self._clock.wait(self.changed, left)
            kept = [] if self._receiving else self._take_all()
            self._keeping = False
        self.give_back(kept)

    def _hide(self, changes: Sequence[tuple[Receipt, int]]) -> None:
        try:
            self._settler.hide(changes)
        except ServiceError as error:
            logger.debug("%d messages come again when their hold ends: %s", len(changes), error)

    def _take_all(self) -> list[Receipt]:
        return [receipt for source in self._sources.values() for receipt in source.take_all()]

    def _prolong(self, receipts: Sequence[Receipt], hold_seconds: float) -> None:
        try:
            if receipts:
                self._settler.extend(receipts, hold_seconds)
        except ServiceError as error:
            logger.debug("not held longer, and left to come again: %s", error)
            for receipt in receipts:
                receipt.settled = True


def _delivery(receipt: Receipt) -> Delivery:
    return Delivery(
        message=receipt.envelope.message,
        receipt=receipt,
        redelivered=receipt.count > 1 or receipt.envelope.replayed,
        delivery_count=receipt.count,
    )
