"""From a message to the content of an AMQP publish, and back. Pure.

Body and priority are the protocol's own. Everything else would meet its limits: its texts have at most 255 bytes, its
names of headers too, and some names (``CC``, ``x-death``) mean something to RabbitMQ. So it is JSON in one header.
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

__all__ = ["Opened", "content_header", "open_content", "size"]

#: The one header of ours.
HEADER = "drivetrain"
#: A longer head stands before the body: all properties must fit into one frame, which may be as short as 4 KiB.
_LONGEST_HEAD_BYTES = 3_000

#: Headers, delivery mode, priority and message id: the properties that we write, as bits.
_FLAGS = 1 << 13 | 1 << 12 | 1 << 11 | 1 << 7
_PERSISTENT = 2
_KEY = bytes([len(HEADER)]) + HEADER.encode() + b"S"
_TABLE = Struct(">HI")
_LONG = Struct(">I")

#: What decoding raises for what nobody of ours has written.
_UNREADABLE = (exceptions.AMQPError, struct.error, ValueError, TypeError, AttributeError, IndexError)

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


@frozen
class Opened:
    """A message as it came."""

    message: Message
    #: How often it was handed out before it was last published.
    handouts: int
    #: How often RabbitMQ has counted that it came back since then; None: it does not count.
    returns: int | None


def content_header(message: Message, handouts: int = 0) -> tuple[bytes, bytes]:
    """The properties and the body.

    Args:
        message: what to publish.
        handouts: how often it was handed out before.
    """
    head: dict[str, Any] = {}
    try:
        short_id = message.id.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON writes as an escape
        short_id = b""
    if not 0 < len(short_id) <= 255:
        short_id = b""
        head["i"] = message.id
    if message.headers:
        head["h"] = dict(message.headers)
    if message.eta is not None:
        head["e"] = message.eta
    if handouts:
        head["n"] = handouts
    told = _encode(head).encode() if head else b"{}"
    body = message.body
    if len(told) > _LONGEST_HEAD_BYTES:
        body = told + body
        told = b"%d" % len(told)
    priority = message.priority if 0 <= message.priority <= 255 else 0
    table = _KEY + _LONG.pack(len(told)) + told
    properties = b"".join(
        (_TABLE.pack(_FLAGS, len(table)), table, bytes((_PERSISTENT, priority, len(short_id))), short_id)
    )
    return properties, body


def open_content(queue: str, properties: bytes, body: bytes) -> Opened:
    """The message of a delivery from ``queue``. One that cannot be read is shown as it is, for core to put aside."""
    try:
        return _open_own(queue, properties, body) or _open_any(queue, properties, body)
    except _UNREADABLE:
        return Opened(Message(id="", queue=queue, body=body), 0, None)


def _open_own(queue: str, properties: bytes, body: bytes) -> Opened | None:
    """A message with our properties, to which nothing was added; None: another one."""
    flags, length = _TABLE.unpack_from(properties)
    start, end = 10 + len(_KEY), 6 + length
    if flags != _FLAGS or properties[6 : 6 + len(_KEY)] != _KEY:
        return None
    if length != start - 6 + _LONG.unpack_from(properties, start - 4)[0]:
        return None
    # The mode is one byte, the priority another, and the id, with its length, is what is left.
    envelope = _Envelope(queue, properties[end + 1], properties[end + 3 :].decode(), body)
    return _opened(envelope, properties[start:end].decode(), None)


def _open_any(queue: str, encoded: bytes, body: bytes) -> Opened:
    properties: Any = spec.BasicProperties().decode(encoded)
    table: Mapping[str, Any] = properties.headers or {}
    told = table.get(HEADER)
    counted = table.get("x-acquired-count", table.get("x-delivery-count"))
    returns = counted if isinstance(counted, int) else None
    envelope = _Envelope(queue, properties.priority or 0, properties.message_id or "", body)
    if isinstance(told, str):
        return _opened(envelope, told, returns)
    # Somebody else's message: its own headers, as text.
    headers = {str(name): str(value) for name, value in table.items() if not str(name).startswith("x-")}
    message = Message(id=envelope.id, queue=queue, body=body, headers=headers, priority=envelope.priority)
    return Opened(message, 0, returns)


@frozen
class _Envelope:
    """What the protocol itself tells of a message."""

    queue: str
    priority: int
    id: str
    body: bytes


def _opened(envelope: _Envelope, told: str, returns: int | None) -> Opened:
    head, body = _decode(told)[0] if told != "{}" else {}, envelope.body
    if isinstance(head, int):
        head, body = json.loads(body[:head]), body[head:]
    message = Message(
        id=head.get("i", envelope.id),
        queue=envelope.queue,
        body=body,
        headers=head.get("h", {}),
        priority=envelope.priority,
        eta=head.get("e"),
    )
    return Opened(message, head.get("n", 0), returns)


def size(message: Message) -> int:
    """Body and headers together, in bytes of UTF-8."""
    if not message.headers:
        return len(message.body)
    texts = (text for pair in message.headers.items() for text in pair)
    return len(message.body) + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
