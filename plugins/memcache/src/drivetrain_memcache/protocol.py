"""Memcached's text protocol: requests as bytes, and readers of their replies.

pymemcache sends one `cas` at a time. A worker records hundreds of tasks at once, so one round trip for each would
dominate the cost. This module builds requests that go out together. It uses the classic commands, which every version
of Memcached and every proxy supports.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field, frozen
from pymemcache.exceptions import MemcacheUnexpectedCloseError  # type: ignore[import-untyped]

from drivetrain_memcache.errors import of_line

__all__ = [
    "EXPIRED",
    "NEVER",
    "PING",
    "Item",
    "Line",
    "ReplyReader",
    "Request",
    "add",
    "batches",
    "cas",
    "delete",
    "exptime",
    "gets",
    "put",
    "touch",
]

#: Requests in one write to a socket. Nobody reads their replies before it ends, so they must fit into its buffers.
_REQUESTS = 1_000
_BYTES = 4 * 1024 * 1024
#: Keys in one request. While values come back, the keys that follow must fit into the server's buffer.
_KEYS = 400
_RECEIVED_BYTES = 256 * 1024

#: Expiry times of items that never end, and that end at once.
NEVER, EXPIRED = 0, -1
#: Memcached reads a number up to 30 days as seconds from now, and a larger one as Unix seconds.
_LONGEST_RELATIVE = 30 * 86_400
#: It reads a signed number of 32 bits.
_LATEST = 2**31 - 1
#: Its clock may be a second behind its last tick, and it rounds fractions of a second.
_MARGIN_SECONDS = 2


def exptime(ends_at: float | None, now: float, margin: int = _MARGIN_SECONDS) -> int:
    """The expiry time for an item that ends at ``ends_at`` (Unix seconds; None: never).

    An item carries its own end in milliseconds, which decides. Memcached, whose clock ticks once a second, only frees
    memory afterwards, about ``margin`` seconds later. It must never be early.
    """
    if ends_at is None:
        return NEVER
    if ends_at <= now:
        return EXPIRED
    if ends_at >= _LATEST - margin:
        return NEVER  # the protocol cannot express it; the item's own end still decides
    seconds = math.ceil(ends_at - now) + margin
    return seconds if seconds <= _LONGEST_RELATIVE else math.ceil(ends_at) + margin


class Line:
    """The lines by which servers answer a change."""

    STORED = b"STORED"
    NOT_STORED = b"NOT_STORED"
    EXISTS = b"EXISTS"
    NOT_FOUND = b"NOT_FOUND"
    DELETED = b"DELETED"
    TOUCHED = b"TOUCHED"


@frozen
class Item:
    """An item as it was read.

    Its cas token changes with every change. It is the server's number and, after a space, the server's run: a restarted
    server counts from 1 again, so another item may then have the same number.
    """

    value: bytes
    cas: bytes


@frozen
class Request:
    """The bytes of a request, and the form of its reply."""

    data: bytes
    #: The number of keys that it asks for.
    keys: int = 0
    #: The reply is a line that begins with one of these; empty: it consists of items.
    replies: tuple[bytes, ...] = ()
    #: The run of the server in which the request is valid; None: any.
    run: bytes | None = None


#: Every server answers it at once.
PING = Request(b"version\r\n", replies=(b"VERSION ",))


def gets(names: Sequence[bytes]) -> Iterator[Request]:
    """Requests for items."""
    for first in range(0, len(names), _KEYS):
        some = names[first : first + _KEYS]
        yield Request(b"gets %s\r\n" % b" ".join(some), keys=len(some))


def add(name: bytes, value: bytes, expires: int) -> Request:
    """Store an item if there is none of this name."""
    data = b"add %s 0 %d %d\r\n%s\r\n" % (name, expires, len(value), value)
    return Request(data, replies=(Line.STORED, Line.NOT_STORED))


def put(name: bytes, value: bytes, expires: int) -> Request:
    """Store an item unconditionally. Only for new names: a server that refuses it deletes what was there."""
    return Request(b"set %s 0 %d %d\r\n%s\r\n" % (name, expires, len(value), value), replies=(Line.STORED,))


def cas(name: bytes, value: bytes, expires: int, token: bytes) -> Request:
    """Store an item if it has not changed since it was read with this cas token."""
    number, _, run = token.partition(b" ")
    data = b"cas %s 0 %d %d %s\r\n%s\r\n" % (name, expires, len(value), number, value)
    return Request(data, replies=(Line.STORED, Line.EXISTS, Line.NOT_FOUND), run=run)


def delete(name: bytes) -> Request:
    """Delete an item."""
    return Request(b"delete %s\r\n" % name, replies=(Line.DELETED, Line.NOT_FOUND))


def touch(name: bytes, expires: int) -> Request:
    """Change the expiry time of an item."""
    return Request(b"touch %s %d\r\n" % (name, expires), replies=(Line.TOUCHED, Line.NOT_FOUND))


def batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests in batches; the buffers of both sides can hold the replies of one batch."""
    some: list[Request] = []
    size = keys = 0
    for request in requests:
        if some and (len(some) >= _REQUESTS or size + len(request.data) > _BYTES or keys + request.keys > _KEYS):
            yield some
            some, size, keys = [], 0, 0
        some.append(request)
        size += len(request.data)
        keys += request.keys
    if some:
        yield some


@define
class ReplyReader:
    """Reads the replies of one server, in order.

    Every method raises an error of pymemcache for an error line, an unexpected line or a closed connection.
    """

    receive: Callable[[int], bytes]
    #: The run of the server, which goes into cas tokens; empty where a proxy does not reveal it.
    run: bytes = b""
    _buffer: bytearray = field(factory=bytearray)
    _at: int = 0

    @classmethod
    def of(cls, connected: socket.socket, run: bytes = b"") -> ReplyReader:
        """The reader of a socket."""
        return cls(connected.recv, run)

    def line(self) -> bytes:
        """The next line, without its end."""
        start = self._at
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            start = max(self._at, len(self._buffer) - 1)  # half of its end may be there
            moved = self._at
            self._fill()
            start -= moved - self._at
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def answer(self, expected: tuple[bytes, ...]) -> bytes:
        """The answer to a command that a server answers by one line."""
        line = self.line()
        if line.startswith(expected):
            return line
        raise of_line(line)

    def items(self) -> dict[bytes, Item]:
        """The items that the server found, by name."""
        found = {}
        run = b" " + self.run if self.run else b""
        while (line := self.line()) != b"END":
            words = line.split(b" ")
            if words[0] != b"VALUE" or len(words) != 5 or not words[3].isdigit():
                raise of_line(line)
            found[words[1]] = Item(self._bytes(int(words[3])), words[4] + run)
        return found

    def stats(self) -> dict[bytes, bytes]:
        """The settings or figures of a server; empty for a proxy that does not know the command."""
        stats = {}
        while (line := self.line()) != b"END":
            word, _, setting = line.partition(b" ")
            if word == b"ERROR":
                return {}
            if word != b"STAT":
                raise of_line(line)
            name, _, value = setting.partition(b" ")
            stats[name] = value
        return stats

    def _bytes(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size + 2:
            self._fill()
        value = bytes(self._buffer[self._at : self._at + size])
        self._at += size + 2
        return value

    def _fill(self) -> None:
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        received = self.receive(_RECEIVED_BYTES)
        if not received:
            raise MemcacheUnexpectedCloseError
        self._buffer += received
