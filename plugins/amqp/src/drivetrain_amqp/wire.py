"""Frames of AMQP 0-9-1: those that a task costs are packed by hand, all others by pika. Pure.

pika builds an object for every method, header and table, which takes twice as long (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any

from pika import exceptions, spec

__all__ = ["FRAME_END", "Frames", "ack", "body_frames", "heartbeat", "method", "nack", "publish"]

FRAME_END = 0xCE
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_BASIC = 60

_FRAME = Struct(">BHI")
_CONTENT = Struct(">BHIHHQ")
_ACK = Struct(">BHIHHQBB")
_END = b"\xce"


def method(channel: int, what: Any) -> bytes:
    """The frame of any method of pika's."""
    payload = b"".join((_METHOD.pack(what.INDEX), *what.encode()))
    return b"".join((_FRAME.pack(METHOD, channel, len(payload)), payload, _END))


_METHOD = Struct(">I")


def heartbeat() -> bytes:
    """The sign of life."""
    return _FRAME.pack(HEARTBEAT, 0, 0) + _END


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """``basic.ack``."""
    return _ACK.pack(METHOD, channel, 13, _BASIC, 80, tag, multiple, FRAME_END)


def nack(channel: int, tag: int, multiple: bool) -> bytes:
    """``basic.nack`` with requeue."""
    return _ACK.pack(METHOD, channel, 13, _BASIC, 120, tag, 2 | multiple, FRAME_END)


@lru_cache(1024)
def publish(channel: int, exchange: str, key: str) -> bytes:
    """``basic.publish``, mandatory: what cannot be routed comes back."""
    return method(channel, spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True))


def body_frames(channel: int, properties: bytes, body: bytes, largest: int) -> Iterator[bytes]:
    """What follows a ``basic.publish``; frames of at most ``largest`` bytes."""
    yield _CONTENT.pack(HEADER, channel, 12 + len(properties), _BASIC, 0, len(body))
    yield properties
    yield _END
    room = largest - 8
    if len(body) <= room:
        if body:
            yield _FRAME.pack(BODY, channel, len(body))
            yield body
            yield _END
        return
    for start in range(0, len(body), room):
        part = body[start : start + room]
        yield _FRAME.pack(BODY, channel, len(part)) + part + _END


class Frames:
    """Takes bytes as they come, and gives frames as they are complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterable[tuple[int, int, bytes]]:
        """The frames that are complete now: type, channel, payload.

        Raises:
            pika.exceptions.InvalidFrameError: this is no AMQP.
        """
        if self._rest:
            data = self._rest + data
        position, length, found = 0, len(data), []
        while length - position >= 8:
            kind, channel, size = _FRAME.unpack_from(data, position)
            end = position + 7 + size
            if end >= length:
                if data[position : position + 4] == b"AMQP":
                    raise exceptions.ProtocolVersionMismatch(data[position : position + 8], "0-9-1")
                break
            if data[end] != FRAME_END:
                raise exceptions.InvalidFrameError("a frame does not end as it should")
            found.append((kind, channel, data[position + 7 : end]))
            position = end + 1
        self._rest = data[position:]
        return found
