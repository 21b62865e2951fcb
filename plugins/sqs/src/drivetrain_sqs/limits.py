"""The limits of SQS. Each stands here once, because AWS raises them now and then."""

from __future__ import annotations

__all__ = [
    "BATCH_BYTES",
    "BATCH_ENTRIES",
    "LONGEST_DELAY_SECONDS",
    "LONGEST_HOLD_SECONDS",
    "LONGEST_POLL_SECONDS",
    "LONGEST_RETENTION_SECONDS",
    "MESSAGE_BYTES",
    "QUEUE_NAME_LENGTH",
    "RESERVED_BYTES",
    "SMALLEST_MESSAGE_BYTES",
]

#: Body and attributes (their names, types and values) of one message, in bytes of UTF-8. 256 KiB until August 2025.
MESSAGE_BYTES = 1_048_576
#: The same for all messages of one batch together.
BATCH_BYTES = MESSAGE_BYTES
#: The part of `MESSAGE_BYTES` for the driver's metadata: id, times, attribute names, the reason of a dead letter.
RESERVED_BYTES = 65_536
#: The lowest limit that a queue may have, so that a message has room next to `RESERVED_BYTES`.
SMALLEST_MESSAGE_BYTES = 2 * RESERVED_BYTES
BATCH_ENTRIES = 10

LONGEST_DELAY_SECONDS = 900
#: Counted from the time that a message was received, all extensions included.
LONGEST_HOLD_SECONDS = 43_200
LONGEST_POLL_SECONDS = 20
LONGEST_RETENTION_SECONDS = 1_209_600

QUEUE_NAME_LENGTH = 80
