"""How a dead letter is shown. Pure."""

from __future__ import annotations

from drivetrain.contract.messages import DEAD_AT_HEADER, DEAD_REASON_HEADER, Message
from drivetrain.contract.records import evolve

__all__ = ["mark_dead"]


def mark_dead(message: Message, reason: str, at: float) -> Message:
    """The message with the headers that `Broker.dead_letter` adds.

    Args:
        message: the message as it was published.
        reason: why it was dead-lettered.
        at: when, in Unix seconds.
    """
    marks = {DEAD_REASON_HEADER: reason, DEAD_AT_HEADER: f"{at:.6f}"}
    return evolve(message, headers={**message.headers, **marks})
