"""What this driver knows of a message that it was handed: where it lies, and until when it is surely held.

SQS does not tell whether a receipt handle is still the message's newest one: a stale one may delete or hide a message
that somebody else holds by now. So nothing is done with one after the time until which the hold is sure.
"""

from __future__ import annotations

import math

from attrs import define

from drivetrain_sqs.limits import LONGEST_DELAY_SECONDS, LONGEST_HOLD_SECONDS
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.wire import Envelope

__all__ = ["TRANSIT_SECONDS", "Receipt", "visibility"]

#: How long the answer to a receive call may have been on its way.
TRANSIT_SECONDS = 0.5
#: What is asked for beyond a hold, so that a settlement that is a little late is still surely the holder's.
_LEAST_GRACE_SECONDS, _MOST_GRACE_SECONDS = 0.5, 3.0


def visibility(hold_seconds: float, held_seconds: float = 0.0) -> int:
    """The visibility timeout for a hold, in whole seconds, as long as SQS allows.

    Args:
        hold_seconds: how long the message is to be held from now.
        held_seconds: how long it was held already; SQS allows twelve hours in all.
    """
    hold = max(0.0, min(hold_seconds, float(LONGEST_HOLD_SECONDS)))
    grace = min(max(_LEAST_GRACE_SECONDS, hold / 10), _MOST_GRACE_SECONDS)
    return max(0, min(math.ceil(hold + grace), LONGEST_HOLD_SECONDS - math.ceil(held_seconds)))


@define(eq=False)
class Receipt:
    """One delivery, to be settled once."""

    queue: SqsQueue
    handle: str
    #: Of SQS.
    message_id: str
    envelope: Envelope
    #: How often the message was handed out, this time included.
    count: int
    #: Unix seconds.
    came_at: float
    #: Both in monotonic seconds.
    received_at: float
    sure_until: float
    settled: bool = False

    @property
    def due(self) -> float:
        """When the message may be handed out, in Unix seconds; what is handed out is in this order."""
        eta = self.envelope.message.eta
        # In a FIFO queue, what is due already keeps its place.
        return self.came_at if eta is None or not (eta > self.came_at or not self.queue.fifo) else eta

    def seconds_to_due(self, now: float) -> int:
        """The whole seconds until then, which is not after it."""
        return int(max(0.0, min(self.due - now, float(LONGEST_DELAY_SECONDS))))

    def open(self, now: float) -> bool:
        """Whether it is not settled, and surely still this consumer's."""
        return not self.settled and now < self.sure_until
