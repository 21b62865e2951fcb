"""What SQS takes at most: each limit once, for AWS raises them now and then."""

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
#: Of `MESSAGE_BYTES`, kept for what the driver adds: id and times, the attribute's own text, the reason of a death.
RESERVED_BYTES = 65_536
#: A queue's own limit may be set lower, but a message must still have room beside what is reserved.
SMALLEST_MESSAGE_BYTES = 2 * RESERVED_BYTES
BATCH_ENTRIES = 10

LONGEST_DELAY_SECONDS = 900
#: From the time that a message was received, all extensions included.
LONGEST_HOLD_SECONDS = 43_200
LONGEST_POLL_SECONDS = 20
LONGEST_RETENTION_SECONDS = 1_209_600

QUEUE_NAME_LENGTH = 80
