"""The message codec: a `Message` as an entry of SendMessageBatch, and a received SQS message as a `Message`. Pure.

The body of a message is the body in SQS, so that the console shows it, if SQS accepts its characters. Other bytes go
into a binary attribute, which costs no more than they do. Everything else is one attribute in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from drivetrain.contract import Message, mark_dead, utf8

__all__ = ["DeadLetterCause", "StoredMessage", "decode", "encode", "size_of"]

#: Names of the attributes.
_METADATA = "drivetrain"
_BYTES = "drivetrain-body"
#: Placeholders for a body that SQS does not accept: it refuses an empty one and control characters.
_EMPTY, _BINARY = "(empty)", "(binary)"

_ILLEGAL = "\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_illegal = re.compile(f"[{_ILLEGAL}]").search
_escapable = re.compile(f"[{_ILLEGAL}\ud800-\udfff]")
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@frozen
class DeadLetterCause:
    """Why and when a message was dead-lettered."""

    reason: str
    #: Unix seconds.
    at: float
    #: The SQS name of the queue that it was in: several queues may share one dead-letter queue.
    source: str


@frozen(kw_only=True)
class StoredMessage:
    """A message with the driver's own metadata, as it is stored in SQS."""

    message: Message
    #: Deliveries before SQS began to count, in ``ApproximateReceiveCount``. SQS counts from 0 when a message is resent.
    earlier_deliveries: int = 0
    #: Whether it was a dead letter before.
    replayed: bool = False
    dead_letter: DeadLetterCause | None = field(default=None)

    def as_dead_letter(self) -> Message:
        """The message with the contract's headers for the reason and the time of its dead-lettering."""
        cause = self.dead_letter
        return self.message if cause is None else mark_dead(self.message, cause.reason, cause.at)


def encode(stored: StoredMessage) -> dict[str, Any]:
    """Encode a message: the fields ``MessageBody`` and ``MessageAttributes`` of an entry of SendMessageBatch."""
    message, cause = stored.message, stored.dead_letter
    text = _legal_text(message.body)
    metadata: dict[str, Any] = {"id": message.id, "headers": dict(message.headers)}
    if text is None:
        metadata["body"] = "binary" if message.body else "empty"
    optional = {
        "priority": message.priority,
        "eta": message.eta,
        "handed_out": stored.earlier_deliveries,
        "replayed": stored.replayed,
        "death": cause and {"reason": cause.reason, "at": cause.at, "source": cause.source},
    }
    metadata.update({name: value for name, value in optional.items() if value or (name == "eta" and value is not None)})
    attributes: dict[str, dict[str, Any]] = {
        _METADATA: {"DataType": "String", "StringValue": _escaped(_to_json(metadata))}
    }
    if text is None and message.body:
        attributes[_BYTES] = {"DataType": "Binary", "BinaryValue": message.body}
    return {
        "MessageBody": text if text is not None else _BINARY if message.body else _EMPTY,
        "MessageAttributes": attributes,
    }


def decode(raw: Mapping[str, Any], queue: str) -> StoredMessage:
    """Decode an item of the answer to ReceiveMessage.

    A message that another program has sent has no metadata of ours. It becomes a message with its text as the body,
    and core decides what to do with it.
    """
    attributes = raw.get("MessageAttributes") or {}
    try:
        metadata = json.loads(attributes[_METADATA]["StringValue"])
        return _stored(metadata, raw["Body"], attributes, queue)
    except (KeyError, TypeError, ValueError, AttributeError):
        foreign = Message(id=str(raw.get("MessageId", "")), queue=queue, body=utf8(raw.get("Body", "")))
        return StoredMessage(message=foreign)


def size_of(entry: Mapping[str, Any]) -> int:
    """The size of an entry as SQS counts it, in bytes: body, and names, types and values of attributes."""
    attributes = entry.get("MessageAttributes", {})
    return len(utf8(entry["MessageBody"])) + sum(
        len(name) + len(each["DataType"]) + len(each.get("BinaryValue") or utf8(each.get("StringValue", "")))
        for name, each in attributes.items()
    )


def _stored(metadata: Any, text: str, attributes: Mapping[str, Any], queue: str) -> StoredMessage:
    kind, cause = metadata.get("body"), metadata.get("death")
    body = b"" if kind == "empty" else attributes[_BYTES]["BinaryValue"] if kind == "binary" else utf8(text)
    eta = metadata.get("eta")
    message = Message(
        id=metadata["id"],
        queue=queue,
        body=bytes(body),
        headers=dict(metadata["headers"]),
        priority=int(metadata.get("priority", 0)),
        eta=None if eta is None else float(eta),
    )
    return StoredMessage(
        message=message,
        earlier_deliveries=int(metadata.get("handed_out", 0)),
        replayed=bool(metadata.get("replayed")),
        dead_letter=DeadLetterCause(cause["reason"], float(cause["at"]), cause["source"]) if cause else None,
    )


def _legal_text(body: bytes) -> str | None:
    """The body as text, if SQS accepts it as such."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if text and not _illegal(text) else None


def _escaped(text: str) -> str:
    """JSON without the characters that SQS refuses. They occur in strings only, where JSON can escape each."""
    return _escapable.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
