"""Frames of AMQP 0-9-1: bytes to and from methods and messages. Pure.

The driver packs the frames of the hot path itself: publish, acknowledge, deliver. pika's codec does all others. pika
builds an object for each method, header and table, which takes twice as long (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any

from attrs import frozen
from pika import exceptions, spec

__all__ = [
    "BODY",
    "FRAME_END",
    "HEADER",
    "METHOD",
    "Content",
    "ContentAssembly",
    "FrameSplitter",
    "ack_frame",
    "content_frames",
    "decode_method",
    "heartbeat_frame",
    "method_frame",
    "nack_frame",
    "publish_frame",
]

FRAME_END = 0xCE
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_BASIC_CLASS, _ACK_METHOD, _NACK_METHOD = 60, 80, 120
_REQUEUE_BIT = 2

_FRAME = Struct(">BHI")
_METHOD_INDEX = Struct(">I")
_CONTENT_HEADER = Struct(">BHIHHQ")
_BODY_SIZE = Struct(">Q")
_ACK = Struct(">BHIHHQBB")
_END = b"\xce"


@frozen
class Content:
    """A method that carries a message, with the message."""

    #: A method of pika; for ``basic.deliver`` its payload in bytes, which the receiver reads by itself.
    method: Any
    properties: bytes
    body: bytes


def method_frame(channel: int, method: Any) -> bytes:
    """The frame of one of pika's methods."""
    payload = b"".join((_METHOD_INDEX.pack(method.INDEX), *method.encode()))
    return b"".join((_FRAME.pack(METHOD, channel, len(payload)), payload, _END))


def decode_method(payload: bytes) -> Any:
    """The pika method in the payload of a method frame.

    Raises:
        pika.exceptions.UnexpectedFrameError: pika does not know the method.
    """
    (index,) = _METHOD_INDEX.unpack_from(payload)
    kind = spec.methods.get(index)
    if kind is None:
        raise exceptions.UnexpectedFrameError(f"unknown method {index:#x}")
    method: Any = kind()
    method.decode(payload, _METHOD_INDEX.size)
    return method


def heartbeat_frame() -> bytes:
    """The frame that shows the other side that this side is alive."""
    return _FRAME.pack(HEARTBEAT, 0, 0) + _END


def ack_frame(channel: int, tag: int, multiple: bool) -> bytes:
    """``basic.ack``; with ``multiple`` for all tags up to this one."""
    return _ACK.pack(METHOD, channel, 13, _BASIC_CLASS, _ACK_METHOD, tag, multiple, FRAME_END)


def nack_frame(channel: int, tag: int, multiple: bool) -> bytes:
    """``basic.nack`` with requeue; with ``multiple`` for all tags up to this one."""
    return _ACK.pack(METHOD, channel, 13, _BASIC_CLASS, _NACK_METHOD, tag, _REQUEUE_BIT | multiple, FRAME_END)


@lru_cache(1024)
def publish_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """``basic.publish``, mandatory: RabbitMQ returns a message that it cannot route."""
    return method_frame(channel, spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True))


def content_frames(channel: int, properties: bytes, body: bytes, max_frame_bytes: int) -> Iterator[bytes]:
    """The header and body frames that follow a ``basic.publish``, in pieces to be joined."""
    yield _CONTENT_HEADER.pack(HEADER, channel, 12 + len(properties), _BASIC_CLASS, 0, len(body))
    yield properties
    yield _END
    room = max_frame_bytes - 8
    if len(body) <= room:
        if body:
            yield _FRAME.pack(BODY, channel, len(body))
            yield body
            yield _END
        return
    for start in range(0, len(body), room):
        part = body[start : start + room]
        yield _FRAME.pack(BODY, channel, len(part)) + part + _END


class FrameSplitter:
    """Cuts a stream of bytes into frames. For one thread at a time."""

    def __init__(self) -> None:
        self._incomplete = b""

    def feed(self, data: bytes) -> Iterable[tuple[int, int, bytes]]:
        """Take bytes as they come; the frames that are now complete: type, channel, payload.

        Raises:
            pika.exceptions.AMQPError: the bytes are not AMQP 0-9-1.
        """
        if self._incomplete:
            data = self._incomplete + data
        position, length, complete = 0, len(data), []
        while length - position >= 8:
            kind, channel, size = _FRAME.unpack_from(data, position)
            end = position + 7 + size
            if end >= length:
                if data[position : position + 4] == b"AMQP":
                    raise exceptions.ProtocolVersionMismatch(data[position : position + 8], "0-9-1")
                break
            if data[end] != FRAME_END:
                raise exceptions.InvalidFrameError("a frame has no end mark")
            complete.append((kind, channel, data[position + 7 : end]))
            position = end + 1
        self._incomplete = data[position:]
        return complete


class ContentAssembly:
    """A message whose header and body frames arrive one by one."""

    __slots__ = ("_body", "_method", "_missing_bytes", "_properties")

    def __init__(self, method: Any) -> None:
        self._method = method
        self._properties = b""
        self._missing_bytes = -1
        self._body: list[bytes] = []

    def add_header(self, payload: bytes) -> None:
        """Take the header frame, which gives the size of the body."""
        (self._missing_bytes,) = _BODY_SIZE.unpack_from(payload, 4)
        self._properties = payload[12:]

    def add_body(self, payload: bytes) -> None:
        """Take the next body frame."""
        self._missing_bytes -= len(payload)
        self._body.append(payload)

    @property
    def complete(self) -> bool:
        """Whether header and body are complete."""
        return self._missing_bytes == 0

    def content(self) -> Content:
        """The complete message."""
        return Content(self._method, self._properties, self._body[0] if len(self._body) == 1 else b"".join(self._body))
