"""Messages as Redis keeps them: a head of fixed length, the id, the headers, and the body.

Id, names and values are joined by NUL, which hardly any text holds; where one does, they are kept as JSON. Of all this
Lua looks at the head only: at the level, and at the ETA of a message that has one.
"""

from __future__ import annotations

import json
from functools import lru_cache
from struct import Struct

from drivetrain.contract import Message

__all__ = ["pack_message", "size_of", "unpack_message"]

#: The kind, the digit of the level, the length of id and headers in bytes, and the ETA in Unix seconds.
_HEAD = Struct(">BBId")
_HEAD_BYTES = _HEAD.size
#: Kinds are bits.
_JSON, _ETA = 1, 2
#: The digit of level 0 in ASCII.
_ZERO = 48

_head, _heads = _HEAD.pack, _HEAD.unpack_from


def pack_message(message: Message) -> bytes:
    """All of a message but its queue."""
    headers, eta = message.headers, message.eta
    text = message.id
    if headers:
        text = "\0".join([text, *[part for pair in headers.items() for part in pair]])
    kind = 0
    if text.count("\0") != 2 * len(headers):
        kind, text = _JSON, json.dumps([message.id, dict(headers)])
    if eta is None:
        eta = 0.0
    else:
        kind |= _ETA
    data = _encode(text)
    return b"".join((_head(kind, _ZERO + message.priority, len(data), eta), data, message.body))


def unpack_message(data: bytes, queue: str) -> Message:
    """The message that `pack_message` was given."""
    kind, level, length, eta = _heads(data)
    end = _HEAD_BYTES + length
    if kind & _JSON:
        message_id, headers = json.loads(_decode(data[_HEAD_BYTES:end]))
    else:
        first, _, rest = data[_HEAD_BYTES:end].partition(b"\0")
        message_id, headers = _decode(first), _headers(rest).copy() if rest else {}
    return Message(
        id=message_id,
        queue=queue,
        body=data[end:],
        headers=headers,
        priority=level - _ZERO,
        eta=eta if kind & _ETA else None,
    )


@lru_cache(maxsize=256)
def _headers(data: bytes) -> dict[str, str]:
    """Many messages have the same headers."""
    parts = _decode(data).split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


def size_of(message: Message) -> int:
    """The size of body and headers, in bytes."""
    texts = [part for pair in message.headers.items() for part in pair]
    return len(message.body) + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
