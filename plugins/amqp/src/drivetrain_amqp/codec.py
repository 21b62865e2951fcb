"""The message codec: a message to the properties and body of an AMQP publish, and back. Pure.

Body, priority and a short id use AMQP's own fields. AMQP would limit the rest: texts and header names to 255 bytes, and
some header names (``CC``, ``x-death``) have a meaning for RabbitMQ. So the rest is JSON in one header.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from struct import Struct
from typing import Any

from attrs import frozen
from pika import exceptions, spec

from drivetrain.contract import Message

__all__ = ["HEADER", "DecodedMessage", "decode_message", "encode_message"]

#: The one header that the driver writes.
HEADER = "drivetrain"
#: Longer metadata goes before the body: all properties must fit into one frame, and a frame may have only 4 KiB.
_LONGEST_METADATA_BYTES = 3_000

#: The property flags of what the driver writes: headers, delivery mode, priority and message id.
_FLAGS = 1 << 13 | 1 << 12 | 1 << 11 | 1 << 7
_PERSISTENT = 2
_KEY = bytes([len(HEADER)]) + HEADER.encode() + b"S"
_TABLE = Struct(">HI")
_LONG = Struct(">I")

#: What decoding raises for properties that the driver has not written.
_UNREADABLE = (exceptions.AMQPError, struct.error, ValueError, TypeError, AttributeError, IndexError)

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


@frozen
class DecodedMessage:
    """A received message with its counts of deliveries."""

    message: Message
    #: How often it was delivered before its last publish.
    deliveries_before: int
    #: How often RabbitMQ has counted a return to the queue since then; None: RabbitMQ does not count.
    returns: int | None


def encode_message(message: Message, deliveries_before: int = 0) -> tuple[bytes, bytes]:
    """The properties and the body of a publish.

    Args:
        message: the message.
        deliveries_before: how often it was delivered before this publish.
    """
    metadata: dict[str, Any] = {}
    try:
        short_id = message.id.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON writes as an escape
        short_id = b""
    if not 0 < len(short_id) <= 255:
        short_id = b""
        metadata["i"] = message.id
    if message.headers:
        metadata["h"] = dict(message.headers)
    if message.eta is not None:
        metadata["e"] = message.eta
    if deliveries_before:
        metadata["n"] = deliveries_before
    encoded = _encode(metadata).encode() if metadata else b"{}"
    body = message.body
    if len(encoded) > _LONGEST_METADATA_BYTES:
        body = encoded + body
        encoded = b"%d" % len(encoded)
    priority = message.priority if 0 <= message.priority <= 255 else 0
    table = _KEY + _LONG.pack(len(encoded)) + encoded
    properties = b"".join(
        (_TABLE.pack(_FLAGS, len(table)), table, bytes((_PERSISTENT, priority, len(short_id))), short_id)
    )
    return properties, body


def decode_message(queue: str, properties: bytes, body: bytes) -> DecodedMessage:
    """The message of a delivery from ``queue``.

    A message that cannot be decoded comes as it is, with an empty id: core puts it among the dead letters.
    """
    try:
        return _decode_own(queue, properties, body) or _decode_any(queue, properties, body)
    except _UNREADABLE:
        return DecodedMessage(Message(id="", queue=queue, body=body), 0, None)


def _decode_own(queue: str, properties: bytes, body: bytes) -> DecodedMessage | None:
    """Decode properties exactly as `encode_message` writes them; None: they are others."""
    flags, length = _TABLE.unpack_from(properties)
    start, end = 10 + len(_KEY), 6 + length
    if flags != _FLAGS or properties[6 : 6 + len(_KEY)] != _KEY:
        return None
    if length != start - 6 + _LONG.unpack_from(properties, start - 4)[0]:
        return None
    # One byte of delivery mode, one of priority, one of the length of the id, and the id.
    fields = _AmqpFields(queue, properties[end + 1], properties[end + 3 :].decode(), body)
    return _decoded(fields, properties[start:end].decode(), None)


def _decode_any(queue: str, encoded: bytes, body: bytes) -> DecodedMessage:
    """Decode with pika: RabbitMQ has added headers, or another program has published the message."""
    properties: Any = spec.BasicProperties().decode(encoded)
    table: Mapping[str, Any] = properties.headers or {}
    metadata = table.get(HEADER)
    counted = table.get("x-acquired-count", table.get("x-delivery-count"))
    returns = counted if isinstance(counted, int) else None
    fields = _AmqpFields(queue, properties.priority or 0, properties.message_id or "", body)
    if isinstance(metadata, str):
        return _decoded(fields, metadata, returns)
    # Another program's message: its own headers, as text.
    headers = {str(name): str(value) for name, value in table.items() if not str(name).startswith("x-")}
    message = Message(id=fields.id, queue=queue, body=body, headers=headers, priority=fields.priority)
    return DecodedMessage(message, 0, returns)


@frozen
class _AmqpFields:
    """The parts of a message that AMQP itself carries."""

    queue: str
    priority: int
    id: str
    body: bytes


def _decoded(fields: _AmqpFields, encoded: str, returns: int | None) -> DecodedMessage:
    metadata, body = _decode(encoded)[0] if encoded != "{}" else {}, fields.body
    if isinstance(metadata, int):  # the length of the metadata before the body
        metadata, body = json.loads(body[:metadata]), body[metadata:]
    message = Message(
        id=metadata.get("i", fields.id),
        queue=fields.queue,
        body=body,
        headers=metadata.get("h", {}),
        priority=fields.priority,
        eta=metadata.get("e"),
    )
    return DecodedMessage(message, metadata.get("n", 0), returns)
