"""The receive buffer: messages that have arrived and were not delivered to the caller yet.

A message that is due within a moment waits here. A message that nobody asks for is released after a second.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from attrs import define, field, frozen

from drivetrain.contract import Clock, Delivery, ServiceError, whole_units
from drivetrain_sqs.codec import decode
from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS
from drivetrain_sqs.publish import EARLY_SECONDS, Publisher, seconds_to
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.settle import Receipt, Settler

__all__ = ["Arrival", "QueueBuffer", "ReceiveBuffer", "ReceiveCall"]

logger = logging.getLogger("drivetrain.sqs")

#: How long a message that nobody asks for stays in the buffer, in seconds.
_LINGER_SECONDS = 1.0
#: How long the answer to a receive call may travel.
_TRANSIT_SECONDS = 0.5
#: How much longer than its wait a receive call may take, in seconds.
_SLOW_SECONDS = 2.0
_numbers = count()


@frozen
class ReceiveCall:
    """One call of `Broker.receive`."""

    limit: int
    hold_seconds: float
    #: Monotonic seconds.
    deadline: float
    #: Since when the caller has called `receive` again and again without a pause; monotonic seconds.
    asking_since: float
    #: How often the broker had been closed when the call began.
    closings: int


@frozen(kw_only=True)
class Arrival:
    """The answer to a receive call of SQS, with the times that bound its holds."""

    raws: Sequence[Mapping[str, Any]]
    #: When the call began, in monotonic seconds.
    began: float
    #: How long SQS was asked to wait, in seconds.
    wait_seconds: int
    #: The visibility timeout of the messages, in seconds.
    visibility_seconds: int


@define(eq=False)
class QueueBuffer:
    """The part of the buffer for one SQS queue. Use all but ``calls`` with the buffer's condition held."""

    queue: str
    role: Role
    sqs_queue: SqsQueue
    #: Whether a long poll waits at this queue.
    polling: bool = False
    #: When a long poll last came back empty, in monotonic seconds.
    empty_at: float = -math.inf
    #: How many receive calls at once have brought full batches.
    calls: int = 1
    #: The error of the last long poll.
    error: Exception | None = None
    #: A heap by (due time, order of arrival).
    _receipts: list[tuple[float, int, Receipt]] = field(factory=list)

    def __len__(self) -> int:
        return len(self._receipts)

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Add messages."""
        for receipt in receipts:
            heapq.heappush(self._receipts, (receipt.due, next(_numbers), receipt))

    def next_due(self) -> float:
        """When the first message is due, in Unix seconds; infinite if there is none."""
        return self._receipts[0][0] if self._receipts else math.inf

    def is_due(self, now: float) -> bool:
        """Whether a message is due."""
        return self.next_due() <= now

    def take_due(self, now: float, limit: int) -> list[Receipt]:
        """Take up to ``limit`` messages that are due, the earliest first."""
        taken: list[Receipt] = []
        while len(taken) < limit and self.is_due(now):
            taken.append(heapq.heappop(self._receipts)[2])
        return taken

    def take_beyond(self, number: int) -> list[Receipt]:
        """Take all but the ``number`` messages that are due first."""
        entries = sorted(self._receipts, key=lambda entry: entry[:2])
        self._receipts = entries[:number]  # a sorted list is a heap
        return [receipt for _, _, receipt in entries[number:]]

    def take_all(self) -> list[Receipt]:
        """Take all messages, due or not."""
        return self.take_beyond(0)


class ReceiveBuffer:
    """The receive buffer of a broker. Thread-safe."""

    def __init__(self, publisher: Publisher, settler: Settler, clock: Clock) -> None:
        self._publisher = publisher
        self._settler = settler
        self._clock = clock
        #: Guards all that follows and the queue buffers. Nobody holds it during a call to SQS.
        self.changed = threading.Condition()
        self.closings = 0
        self._buffers: dict[tuple[str, Role], QueueBuffer] = {}
        self._receiving = False
        self._idle_since = 0.0
        self._releaser_runs = False
        #: Receipts that anybody still has, by SQS's message id.
        self._held: WeakValueDictionary[str, Receipt] = WeakValueDictionary()

    # Messages in

    def buffer_of(self, queue: str, role: Role, sqs_queue: SqsQueue) -> QueueBuffer:
        """The buffer of a queue, without the error of an earlier poll."""
        with self.changed:
            buffer = self._buffers.setdefault((queue, role), QueueBuffer(queue, role, sqs_queue))
            buffer.sqs_queue, buffer.error = sqs_queue, None
        return buffer

    def admit(self, buffer: QueueBuffer, arrival: Arrival) -> list[Receipt]:
        """The receipts of messages that are due now or in a moment.

        Releases messages that came far too early. Moves those of a queue for later ones to their FIFO queue. Drops
        duplicates of messages that this process holds. The caller adds the result to ``buffer``.
        """
        # SQS hid the messages after the call began and shortly before they came. If they come much later than SQS can
        # have waited, this process was suspended meanwhile, and the hold began earlier.
        latest = arrival.began + arrival.wait_seconds + _SLOW_SECONDS
        since = max(arrival.began, min(self._clock.monotonic() - _TRANSIT_SECONDS, latest))
        until = since + arrival.visibility_seconds
        receipts = [each for raw in arrival.raws if (each := self._new(buffer, raw, since, until)) is not None]
        now = self._clock.now()
        soon = [each for each in receipts if seconds_to(each.stored.message.eta, now) <= EARLY_SECONDS]
        near = set(map(id, soon))
        self._hide([(each, each.whole_seconds_to_due(now)) for each in receipts if id(each) not in near])
        if buffer.role is Role.MAIN:
            return soon
        self._move_to_main(soon)
        return []

    def poll_ended(self, buffer: QueueBuffer, call: ReceiveCall) -> list[Receipt]:
        """Note that a long poll has ended. Return what the caller must release at once. The condition is held."""
        unwanted = buffer.take_all() if self.is_closed(call) and not self._receiving else []
        self._release_when_idle()
        self.changed.notify_all()
        return unwanted

    # Messages out

    def is_closed(self, call: ReceiveCall) -> bool:
        """Whether the broker was closed since the call began."""
        return self.closings != call.closings

    def begin_receive(self) -> None:
        """Note that a `receive` runs. The condition is held."""
        self._receiving = True

    def end_receive(self) -> None:
        """Note that no `receive` runs. The condition is held."""
        self._receiving = False
        self._release_when_idle()

    def take_due(self, buffers: Sequence[QueueBuffer], call: ReceiveCall, room: int) -> list[Delivery]:
        """Take up to ``room`` messages that are due and certainly held, in the order of ``buffers``."""
        now, instant = self._clock.now(), self._clock.monotonic()
        with self.changed:
            found: list[Receipt] = []
            for buffer in buffers:
                found += buffer.take_due(now, room - len(found))
        receipts = [receipt for receipt in found if receipt.is_open(instant)]
        # A message that has waited here is held for the rest of its hold only.
        short = [receipt for receipt in receipts if receipt.held_until - instant < call.hold_seconds]
        self._extend(short, call.hold_seconds)
        return [_delivery(receipt) for receipt in receipts if receipt.is_open(instant)]

    def release_surplus(self, buffers: Sequence[QueueBuffer], limit: int) -> None:
        """Release all but ``limit`` messages of each queue until they are due.

        Thousands of messages may be due in one second, for example retries after an outage. A worker then keeps no more
        of them than it asked for, and ready messages behind them need not wait. SQS hides a message for whole seconds,
        rounded up: it comes less than one second late.
        """
        now, instant = self._clock.now(), self._clock.monotonic()
        with self.changed:
            surplus = [receipt for buffer in buffers for receipt in buffer.take_beyond(limit)]
        longest = LONGEST_DELAY_SECONDS
        hidden = [(each, whole_units(each.due - now, per_second=1, longest_seconds=longest)) for each in surplus]
        self._hide([(each, seconds) for each, seconds in hidden if each.is_open(instant)])

    def take_queue(self, queue: str) -> list[Receipt]:
        """Take all messages of a queue; others still cannot see them."""
        with self.changed:
            found = [buffer for (name, _), buffer in self._buffers.items() if name == queue]
            return [receipt for buffer in found for receipt in buffer.take_all()]

    def release(self, receipts: Sequence[Receipt]) -> None:
        """Release messages until they are due. SQS redelivers those for which this fails when their hold ends."""
        now, instant = self._clock.now(), self._clock.monotonic()
        self._hide([(each, each.whole_seconds_to_due(now)) for each in receipts if each.is_open(instant)])

    def close(self) -> None:
        """Wake a waiting `receive` and release the messages in the buffer."""
        with self.changed:
            self.closings += 1
            undelivered = self._take_everything()
            self.changed.notify_all()
        self.release(undelivered)

    def _new(self, buffer: QueueBuffer, raw: Mapping[str, Any], since: float, until: float) -> Receipt | None:
        """The receipt of a message; None if this process holds it already: SQS may deliver a message twice."""
        with self.changed:
            held = self._held.get(raw["MessageId"])
            # Whether it is open is asked of the present: SQS hands a message out again after its hold, and the lower
            # bound ``since`` of the new hold may lie before the end of the old one.
            if held is not None and held.is_open(self._clock.monotonic()):
                if not self._settler.is_claimed(held):
                    # Only the newest handle certainly works.
                    held.handle, held.held_until = raw["ReceiptHandle"], until
                    return None
                # SQS may hand the message out before the answer to its release has arrived.
                held.settled = True
            stored = decode(raw, buffer.queue)
            received = int(raw.get("Attributes", {}).get("ApproximateReceiveCount", 1))
            receipt = self._held[raw["MessageId"]] = Receipt(
                queue=buffer.sqs_queue,
                handle=raw["ReceiptHandle"],
                message_id=raw["MessageId"],
                stored=stored,
                delivery_count=stored.earlier_deliveries + received,
                received_at=self._clock.now(),
                held_since=since,
                held_until=until,
            )
            return receipt

    def _move_to_main(self, receipts: Sequence[Receipt]) -> None:
        """Publish messages that are due to their FIFO queue. It accepts each once, even if it is sent repeatedly."""
        if not receipts:
            return
        ids = [f"later-{each.message_id}" for each in receipts]
        result = self._publisher.republish([each.stored for each in receipts], Role.MAIN, ids)
        self._settler.delete([each for number, each in enumerate(receipts) if result.has(number)])
        if result.errors:
            raise result.errors[0]

    def _release_when_idle(self) -> None:
        """Release the messages in the buffer if no `receive` comes for a second. The condition is held."""
        self._idle_since = self._clock.monotonic()
        if not self._releaser_runs and not self._receiving and any(map(len, self._buffers.values())):
            threading.Thread(target=self._release_later, name="drivetrain-sqs-release", daemon=True).start()
            self._releaser_runs = True

    def _release_later(self) -> None:
        with self.changed:
            while not self._receiving and any(map(len, self._buffers.values())):
                remaining = self._idle_since + _LINGER_SECONDS - self._clock.monotonic()
                if remaining <= 0:
                    break
                self._clock.wait(self.changed, remaining)
            unwanted = [] if self._receiving else self._take_everything()
            self._releaser_runs = False
        self.release(unwanted)

    def _take_everything(self) -> list[Receipt]:
        return [receipt for buffer in self._buffers.values() for receipt in buffer.take_all()]

    def _hide(self, changes: Sequence[tuple[Receipt, int]]) -> None:
        try:
            self._settler.hide(changes)
        except ServiceError as error:
            logger.debug("could not release %d messages; SQS redelivers them later: %s", len(changes), error)

    def _extend(self, receipts: Sequence[Receipt], hold_seconds: float) -> None:
        try:
            if receipts:
                self._settler.extend(receipts, hold_seconds)
        except ServiceError as error:
            logger.debug("could not extend %d holds; SQS redelivers the messages later: %s", len(receipts), error)
            for receipt in receipts:
                receipt.settled = True


def _delivery(receipt: Receipt) -> Delivery:
    return Delivery(
        message=receipt.stored.message,
        receipt=receipt,
        redelivered=receipt.delivery_count > 1 or receipt.stored.replayed,
        delivery_count=receipt.delivery_count,
    )
