"""What a broker carries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

__all__ = [
    "DEAD_AT_HEADER",
    "DEAD_REASON_HEADER",
    "MESSAGE_GROUP_HEADER",
    "Delivery",
    "Message",
    "QueueSection",
    "QueueSizes",
]

#: The header that `Broker.dead_letter` adds: why the message was put aside.
DEAD_REASON_HEADER = "drivetrain-dead-reason"
#: The header that tells the group of a message, for brokers that keep the messages of one group in order.
MESSAGE_GROUP_HEADER = "drivetrain-message-group"
#: The header that `Broker.dead_letter` adds: when, in Unix seconds, as decimal text.
DEAD_AT_HEADER = "drivetrain-dead-at"


class QueueSection(StrEnum):
    """Where a message may lie in a queue."""

    READY = "ready"
    DELAYED = "delayed"
    DEAD = "dead"


class Message(Struct, frozen=True, kw_only=True):
    """One message. Brokers carry body and headers as they are, byte for byte."""

    #: Not unique for the broker: a message that is published twice is carried twice.
    id: str
    queue: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Higher comes first; from 0 to the broker's `priority_levels` - 1.
    priority: int = 0
    #: Not to be delivered before this time (Unix seconds); None or a time in the past: at once.
    eta: float | None = None


class Delivery(Struct, frozen=True, kw_only=True):
    """A message that a broker handed out, to be settled by the consumer that received it."""

    message: Message
    #: The driver's own mark of this very delivery. Opaque to core. A message that is delivered again has another.
    receipt: Any
    #: False only if the broker is sure that the message was never handed out before.
    redelivered: bool = False
    #: How often the message was handed out, this time included; None where the broker does not count.
    delivery_count: int | None = None


class QueueSizes(Struct, frozen=True, kw_only=True):
    """How many messages lie in a queue; None where the broker cannot tell."""

    ready: int | None
    delayed: int | None
    #: Delivered and not yet settled.
    held: int | None
    dead: int | None
