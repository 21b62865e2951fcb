"""Parked tasks: the messages of tasks that wait for a place, stored so that a free place can wake them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from drivetrain.contract import Message
from drivetrain.worker.publisher import ETA_HEADER, PARKED_HEADER, RESERVED_HEADER

__all__ = ["AWAITED", "LINE_PREFIX", "SKIPPED", "decode_parked", "encode_parked", "line_key"]

#: The keys of parked tasks begin with it; the key of the limit and the number follow.
LINE_PREFIX = "limits/line/"
#: Is stored by a worker that has a free place for a number whose message is not stored yet. The worker that stores the
#: message finds it, and gives its task the place.
AWAITED = b"awaited"
#: Is stored for a number that no task uses.
SKIPPED = b"skipped"

_NOT_AGAIN = frozenset({ETA_HEADER, PARKED_HEADER, RESERVED_HEADER})


def line_key(key: str, number: int) -> str:
    """The key of the parked task with this number."""
    return f"{LINE_PREFIX}{key}/{number}"


def encode_parked(message: Message, largest_bytes: int | None) -> bytes:
    """The message of a parked task as bytes; without its body where it would be too large for a value."""
    body = b64encode(message.body).decode()
    headers = {name: text for name, text in message.headers.items() if name not in _NOT_AGAIN}
    plain = {"id": message.id, "queue": message.queue, "headers": headers, "priority": message.priority}
    whole = json.dumps({**plain, "body": body}).encode()
    return whole if largest_bytes is None or len(whole) <= largest_bytes else json.dumps(plain).encode()


def decode_parked(value: bytes) -> tuple[str, Message | None]:
    """The id of a parked task, and its message; None where that was too large to be stored.

    Raises:
        ValueError: nothing of the kind is stored.
    """
    plain = json.loads(value)
    if "body" not in plain:
        return plain["id"], None
    message = Message(
        id=plain["id"],
        queue=plain["queue"],
        headers=plain["headers"],
        priority=plain["priority"],
        body=b64decode(plain["body"]),
    )
    return message.id, message
