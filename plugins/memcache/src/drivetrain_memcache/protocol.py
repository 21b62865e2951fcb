"""Memcached's text protocol: requests as bytes, and their replies read back. Many may be on their way at once.

pymemcache sends one `cas` at a time, and a worker records hundreds of tasks at once: one round trip for each would be
most of the work. The commands are the classic ones, which every version and every proxy knows.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field, frozen

from drivetrain_memcache.library import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)

__all__ = [
    "PING",
    "Replies",
    "Request",
    "Stored",
    "Value",
    "add",
    "cas",
    "delete",
    "gets",
    "put",
    "slices",
    "touch",
]

#: Requests of one write to a socket. Their replies must fit into its buffers, for they are read only afterwards.
_REQUESTS = 1_000
_BYTES = 4 * 1024 * 1024
#: Keys that are asked for at once: while values come back, the keys that follow must fit into the server's buffer.
_KEYS = 400
_RECEIVED_BYTES = 256 * 1024


class Stored:
    """What servers answer to a change."""

    STORED = b"STORED"
    NOT_STORED = b"NOT_STORED"
    EXISTS = b"EXISTS"
    NOT_FOUND = b"NOT_FOUND"
    DELETED = b"DELETED"
    TOUCHED = b"TOUCHED"


@frozen
class Value:
    """An item as it is read, and the mark that changes with every change.

    The mark is the server's number and, after a blank, the life of the server: when that starts anew it counts from 1
    again, and an item may then have the number that another one had before.
    """

    value: bytes
    cas: bytes


@frozen
class Request:
    """A request, and what its reply looks like."""

    data: bytes
    #: How many keys it asks for.
    keys: int = 0
    #: One of these begins the line that answers; none: values do.
    replies: tuple[bytes, ...] = ()
    #: In which life of the server this means something; None: in any.
    life: bytes | None = None


def gets(names: Sequence[bytes]) -> Iterator[Request]:
    """Ask for items."""
    for first in range(0, len(names), _KEYS):
        some = names[first : first + _KEYS]
        yield Request(b"gets %s\r\n" % b" ".join(some), keys=len(some))


def add(name: bytes, value: bytes, exptime: int) -> Request:
    """Store an item that is not there."""
    data = b"add %s 0 %d %d\r\n%s\r\n" % (name, exptime, len(value), value)
    return Request(data, replies=(Stored.STORED, Stored.NOT_STORED))


def put(name: bytes, value: bytes, exptime: int) -> Request:
    """Store an item, whatever is there. Only for names that are new: where it is refused, what was there is dropped."""
    return Request(b"set %s 0 %d %d\r\n%s\r\n" % (name, exptime, len(value), value), replies=(Stored.STORED,))


def cas(name: bytes, value: bytes, exptime: int, mark: bytes) -> Request:
    """Store an item if it has not changed since it was read."""
    number, _, life = mark.partition(b" ")
    data = b"cas %s 0 %d %d %s\r\n%s\r\n" % (name, exptime, len(value), number, value)
    return Request(data, replies=(Stored.STORED, Stored.EXISTS, Stored.NOT_FOUND), life=life)


def delete(name: bytes) -> Request:
    """Drop an item."""
    return Request(b"delete %s\r\n" % name, replies=(Stored.DELETED, Stored.NOT_FOUND))


def touch(name: bytes, exptime: int) -> Request:
    """Change when an item ends."""
    return Request(b"touch %s %d\r\n" % (name, exptime), replies=(Stored.TOUCHED, Stored.NOT_FOUND))


def slices(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """The requests, as many at a time as may be on their way at once."""
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


#: Answered by every server at once.
PING = Request(b"version\r\n", replies=(b"VERSION ",))


@define
class Replies:
    """Reads what a server answers."""

    receive: Callable[[int], bytes]
    #: Of the server, where it tells; see `Value`.
    life: bytes = b""
    _buffer: bytearray = field(factory=bytearray)
    _at: int = 0

    @classmethod
    def of(cls, connected: socket.socket, life: bytes = b"") -> Replies:
        """From a socket."""
        return cls(connected.recv, life)

    def line(self) -> bytes:
        """The next line, without its end."""
        start = self._at
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            start = max(self._at, len(self._buffer) - 1)  # its end may be half there
            moved = self._at
            self._fill()
            start -= moved - self._at
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def reply(self, awaited: tuple[bytes, ...]) -> bytes:
        """The answer to a change, or to a command that is answered by one line."""
        line = self.line()
        if line.startswith(awaited):
            return line
        raise _error(line)

    def values(self) -> dict[bytes, Value]:
        """The items that were found."""
        found = {}
        life = b" " + self.life if self.life else b""
        while (line := self.line()) != b"END":
            words = line.split(b" ")
            if words[0] != b"VALUE" or len(words) != 5 or not words[3].isdigit():
                raise _error(line)
            found[words[1]] = Value(self._bytes(int(words[3])), words[4] + life)
        return found

    def settings(self) -> dict[bytes, bytes]:
        """The settings or figures of a server; none from a proxy, which keeps those of its servers to itself."""
        told = {}
        while (line := self.line()) != b"END":
            word, _, setting = line.partition(b" ")
            if word == b"ERROR":
                return {}
            if word != b"STAT":
                raise _error(line)
            name, _, value = setting.partition(b" ")
            told[name] = value
        return told

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


def _error(line: bytes) -> MemcacheError:
    kind, _, said = line.partition(b" ")
    if kind == b"SERVER_ERROR":
        return MemcacheServerError(said)
    if kind == b"CLIENT_ERROR":
        return MemcacheClientError(said)
    if kind == b"ERROR":
        return MemcacheUnknownCommandError(line)
    return MemcacheUnknownError(b"it answered " + repr(line[:32]).encode())
