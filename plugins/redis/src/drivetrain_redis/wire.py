"""One connection: redis-py connects and logs in, hiredis packs and reads, and nothing stands between."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import hiredis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from drivetrain_redis.errors import ConnectionLost
from drivetrain_redis.options import Options

__all__ = ["Address", "Wire", "pack"]

#: Host and port, or the path of a socket.
Address = tuple[str, int] | str

_READ_BYTES = 65_536
_WAITING = object()


def pack(arguments: tuple[Any, ...]) -> bytes:
    """One command as it is sent. Text that UTF-8 does not know is sent with its surrogates."""
    try:
        packed: bytes = hiredis.pack_command(arguments)
    except UnicodeEncodeError:
        packed = hiredis.pack_command(tuple(map(_encoded, arguments)))
    return packed


def _encoded(argument: Any) -> Any:
    return argument.encode("utf-8", "surrogatepass") if isinstance(argument, str) else argument


class Wire:
    """A connection. Used by one thread at a time.

    redis-py's own ways of sending and reading cost more than all that we do with a message, so only its way of
    connecting is used: addresses, TLS, names and passwords.
    """

    __slots__ = ("_connection", "_feed", "_gets", "_recv", "address", "generation", "send", "socket")

    def __init__(self, options: Options, address: Address, *, sentinel: bool = False) -> None:
        """Connect.

        Raises:
            redis.RedisError, OSError: it cannot be reached, or refuses who we are.
        """
        self.address = address
        #: For whoever keeps it.
        self.generation = 0
        self._connection: Any = _connection(options, address, sentinel=sentinel)
        self._connection.connect()
        # The one thing of redis-py that is not public: the socket that it has connected.
        self.socket: socket.socket = self._connection._sock
        reader = hiredis.Reader(notEnoughData=_WAITING)
        self._gets, self._feed = reader.gets, reader.feed
        self._recv = self.socket.recv
        #: Send what `pack` gave.
        self.send = self.socket.sendall

    def read(self) -> Any:
        """The next reply; an error of the server is given as a `hiredis.ReplyError`, not raised.

        Raises:
            OSError: lost, or not answered in time.
            redis.ConnectionError: the server has closed the connection.
        """
        reply = self._gets()
        while reply is _WAITING:
            data = self._recv(_READ_BYTES)
            if not data:
                raise ConnectionLost("the server has closed the connection")
            self._feed(data)
            reply = self._gets()
        return reply

    def read_waiting(self) -> Any:
        """The next reply if it is there already, else None; for a socket that does not block."""
        reply = self._gets()
        while reply is _WAITING:
            try:
                data = self._recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return None
            if not data:
                raise ConnectionLost("the server has closed the connection")
            self._feed(data)
            reply = self._gets()
        return reply

    def ask(self, *arguments: Any) -> Any:
        """Send one command; its reply.

        Raises:
            hiredis.ReplyError: it is an error.
            OSError, redis.ConnectionError: see `read`.
        """
        self.send(pack(arguments))
        reply = self.read()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        """Let go of it. A thread that reads is woken."""
        self._connection.disconnect()


def _connection(options: Options, address: Address, *, sentinel: bool) -> Any:
    told: dict[str, Any] = {
        "username": options.sentinel_username if sentinel else options.username,
        "password": options.sentinel_password if sentinel else options.password,
        "db": 0 if sentinel else options.database,
        "socket_timeout": options.timeout_seconds,
        "socket_connect_timeout": options.connect_timeout_seconds,
        "retry": Retry(NoBackoff(), 0),  # core retries, and knows what may be repeated
        "protocol": 2,
        "client_name": "drivetrain",
    }
    if isinstance(address, str):
        kind: Any = UnixDomainSocketConnection
        return kind(path=address, **told)
    host, port = address
    kind = SSLConnection if options.tls else Connection
    return kind(host=host, port=port, socket_keepalive=True, **told, **options.ssl)
