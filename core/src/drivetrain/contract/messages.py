"""Messages, their deliveries, and the sections of a queue."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

__all__ = [
    "DEAD_AT_HEADER",
    "DEAD_REASON_HEADER",
    "FAIR_KEY_HEADER",
    "MESSAGE_GROUP_HEADER",
    "Delivery",
    "Message",
    "QueueSection",
    "QueueSizes",
]

#: The header with the reason that `Broker.dead_letter` was given.
DEAD_REASON_HEADER = "drivetrain-dead-reason"
#: The header with the fair key of a message, for brokers that declare `BrokerCapabilities.fair_keys`: there the keys of
#: a queue take turns.
FAIR_KEY_HEADER = "drivetrain-fair-key"
#: The header with the group of a message, for brokers that keep the messages of one group in order.
MESSAGE_GROUP_HEADER = "drivetrain-message-group"
#: The header with the time of `Broker.dead_letter`: Unix seconds as decimal text.
DEAD_AT_HEADER = "drivetrain-dead-at"


class QueueSection(StrEnum):
    """A part of a queue.

    Attributes:
        READY: messages that a consumer may receive now.
        DELAYED: messages that are not due yet.
        DEAD: dead letters.
    """

    READY = "ready"
    DELAYED = "delayed"
    DEAD = "dead"


class Message(Struct, frozen=True, kw_only=True):
    """One message. A broker carries it unchanged.

    Attributes:
        id: the id. A broker does not treat it as unique: a message that is published twice is carried twice.
        queue: the name of the queue, any text.
        body: the content.
        headers: short texts by name.
        priority: from 0 to the broker's `priority_levels` - 1; a higher priority is delivered first.
        eta: the time before which the message is not delivered, in Unix seconds; None or a past time: deliver it at
            once.
    """

    id: str
    queue: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    eta: float | None = None


class Delivery(Struct, frozen=True, kw_only=True):
    """One hand-over of a message. The consumer that received it settles it.

    Attributes:
        message: the message.
        receipt: the driver's handle of this delivery. Opaque to core. Every delivery has another one.
        redelivered: False only if the broker is sure that this is the first delivery of the message.
        delivery_count: how often the message was delivered, this time included: 1 or more. None: the broker does not
            count.
    """

    message: Message
    receipt: Any
    redelivered: bool = False
    delivery_count: int | None = None


class QueueSizes(Struct, frozen=True, kw_only=True):
    """The number of messages in a queue, 0 or more each; None where the broker cannot tell.

    Attributes:
        ready: messages that a consumer may receive now.
        delayed: messages that are not due yet.
        in_flight: messages that were delivered and not settled, and whose hold lasts.
        dead: dead letters.
        oldest_seconds: how long the oldest ready message has been ready, in seconds, 0 or more; 0 where no message is
            ready; None where `measures_age` is not declared.
    """

    ready: int | None
    delayed: int | None
    in_flight: int | None
    dead: int | None
    oldest_seconds: float | None = None
