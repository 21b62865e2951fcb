"""From our messages to those of SQS and back. Pure.

The body of a message is the body in SQS, so that the console shows it, as long as SQS takes its signs; other bytes go
into a binary attribute, which costs no more than they have. All else is one attribute in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from drivetrain.contract import DEAD_AT_HEADER, DEAD_REASON_HEADER, Message, evolve

__all__ = ["Death", "Envelope", "dump", "load", "size_of"]

#: Names of the attributes.
_ENVELOPE = "drivetrain"
_BYTES = "drivetrain-body"
#: What stands for a body that SQS takes no signs of; it wants at least one.
_EMPTY, _BINARY = "(empty)", "(binary)"

_ILLEGAL = "\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_illegal = re.compile(f"[{_ILLEGAL}]").search
_escapable = re.compile(f"[{_ILLEGAL}\ud800-\udfff]")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@frozen
class Death:
    """Why and when a message was put aside."""

    reason: str
    #: Unix seconds.
    at: float
    #: The name in SQS of its queue, for several queues may share the place of their dead letters.
    source: str


@frozen(kw_only=True)
class Envelope:
    """A message, and what the driver knows of it besides."""

    message: Message
    #: How often it was handed out before SQS began to count, which it does anew when a message is sent again.
    handed_out: int = 0
    #: Whether it was among the dead letters.
    replayed: bool = False
    death: Death | None = field(default=None)

    def shown(self) -> Message:
        """The message as it is shown among the dead letters."""
        if self.death is None:
            return self.message
        marks = {DEAD_REASON_HEADER: self.death.reason, DEAD_AT_HEADER: f"{self.death.at:.6f}"}
        return evolve(self.message, headers={**self.message.headers, **marks})


def dump(envelope: Envelope) -> dict[str, Any]:
    """The fields of an entry of SendMessageBatch that say what the message is."""
    message, death = envelope.message, envelope.death
    text = _text(message.body)
    known: dict[str, Any] = {"id": message.id, "headers": dict(message.headers)}
    if text is None:
        known["body"] = "binary" if message.body else "empty"
    optional = {
        "priority": message.priority,
        "eta": message.eta,
        "handed_out": envelope.handed_out,
        "replayed": envelope.replayed,
        "death": death and {"reason": death.reason, "at": death.at, "source": death.source},
    }
    known.update({name: value for name, value in optional.items() if value or (name == "eta" and value is not None)})
    attributes: dict[str, dict[str, Any]] = {_ENVELOPE: {"DataType": "String", "StringValue": _escaped(_encode(known))}}
    if text is None and message.body:
        attributes[_BYTES] = {"DataType": "Binary", "BinaryValue": message.body}
    return {
        "MessageBody": text if text is not None else _BINARY if message.body else _EMPTY,
        "MessageAttributes": attributes,
    }


def load(raw: Mapping[str, Any], queue: str) -> Envelope:
    """The envelope of a message that was received. One that we have not sent is all body, for core to judge."""
    attributes = raw.get("MessageAttributes") or {}
    try:
        known = json.loads(attributes[_ENVELOPE]["StringValue"])
        return _envelope(known, raw["Body"], attributes, queue)
    except (KeyError, TypeError, ValueError, AttributeError):
        foreign = Message(id=str(raw.get("MessageId", "")), queue=queue, body=_utf8(raw.get("Body", "")))
        return Envelope(message=foreign)


def size_of(entry: Mapping[str, Any]) -> int:
    """The size of an entry as SQS counts it, in bytes: body, and names, types and values of attributes."""
    attributes = entry.get("MessageAttributes", {})
    return len(_utf8(entry["MessageBody"])) + sum(
        len(name) + len(each["DataType"]) + len(each.get("BinaryValue") or _utf8(each.get("StringValue", "")))
        for name, each in attributes.items()
    )


def _envelope(known: Any, text: str, attributes: Mapping[str, Any], queue: str) -> Envelope:
    kind, death = known.get("body"), known.get("death")
    body = b"" if kind == "empty" else attributes[_BYTES]["BinaryValue"] if kind == "binary" else _utf8(text)
    eta = known.get("eta")
    message = Message(
        id=known["id"],
        queue=queue,
        body=bytes(body),
        headers=dict(known["headers"]),
        priority=int(known.get("priority", 0)),
        eta=None if eta is None else float(eta),
    )
    return Envelope(
        message=message,
        handed_out=int(known.get("handed_out", 0)),
        replayed=bool(known.get("replayed")),
        death=Death(death["reason"], float(death["at"]), death["source"]) if death else None,
    )


def _text(body: bytes) -> str | None:
    """The body as text, if SQS takes it as such."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if text and not _illegal(text) else None


def _escaped(text: str) -> str:
    """JSON without any sign that SQS refuses: they stand in strings only, where JSON has an escape for each."""
    return _escapable.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
