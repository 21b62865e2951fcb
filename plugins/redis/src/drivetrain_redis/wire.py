"""One connection: hiredis packs and reads, and nothing stands between it and the socket."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import hiredis

from drivetrain_redis.alert import alert_for, asleep
from drivetrain_redis.connecting import Address, dry_errors, open_socket
from drivetrain_redis.errors import ConnectionLost
from drivetrain_redis.options import Options

__all__ = ["Address", "Wire", "pack"]

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
    """A connection. Used by one thread at a time."""

    __slots__ = ("_decrypts", "_dry", "_feed", "_gets", "_look", "_recv", "address", "generation", "send", "socket")

    def __init__(self, options: Options, address: Address, *, sentinel: bool = False) -> None:
        """Connect, and say who we are.

        Raises:
            OSError, ConnectionLost: it cannot be reached.
            hiredis.ReplyError: it refuses who we are.
        """
        self.address = address
        #: For whoever keeps it.
        self.generation = 0
        self.socket = open_socket(options, address)
        self._decrypts, self._dry = options.tls, dry_errors(options)
        reader = hiredis.Reader(notEnoughData=_WAITING)
        self._gets, self._feed = reader.gets, reader.feed
        self._recv = self.socket.recv
        # What TLS has read and not given yet, a look at the socket does not tell.
        self._look = asleep if options.tls else alert_for(self.socket)
        #: Send what `pack` gave.
        self.send = self.socket.sendall
        try:
            self._introduce(_greetings(options, sentinel=sentinel))
        except BaseException:
            self.close()
            raise

    def _introduce(self, commands: list[tuple[Any, ...]]) -> None:
        self.send(b"".join(map(pack, commands)))
        replies = [self.read() for _ in commands]
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply

    def read(self) -> Any:
        """The next reply; an error of the server is given as a `hiredis.ReplyError`, not raised.

        Raises:
            OSError: lost, or not answered in time.
            ConnectionLost: the server has closed the connection.
        """
        reply = self._gets()
        while reply is _WAITING:
            self._look()
            data = self._recv(_READ_BYTES)
            if not data:
                raise ConnectionLost("the server has closed the connection")
            self._feed(data)
            reply = self._gets()
        return reply

    def read_waiting(self) -> list[Any]:
        """The replies that are there already; for a socket that does not block.

        Raises:
            OSError, ConnectionLost: see `read`.
        """
        replies: list[Any] = []
        with suppress(*self._dry):
            while True:
                data = self._recv(_READ_BYTES)
                if not data:
                    raise ConnectionLost("the server has closed the connection")
                self._feed(data)
                while (reply := self._gets()) is not _WAITING:
                    replies.append(reply)
                if not self._decrypts:
                    break  # what else there is, the next poll tells; not so of what TLS has read and not given yet
        return replies

    def ask(self, *arguments: Any) -> Any:
        """Send one command; its reply.

        Raises:
            hiredis.ReplyError: it is an error.
            OSError, ConnectionLost: see `read`.
        """
        self.send(pack(arguments))
        reply = self.read()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        """Let go of it. A thread that reads is woken."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _greetings(options: Options, *, sentinel: bool) -> list[tuple[Any, ...]]:
    """What is said first: who we are, and which database is meant."""
    username, password = (
        (options.sentinel_username, options.sentinel_password) if sentinel else (options.username, options.password)
    )
    said: list[tuple[Any, ...]] = []
    if username is not None or password is not None:
        said.append(("AUTH", *([username] if username is not None else []), password or ""))
    said.append(("CLIENT", "SETNAME", "drivetrain"))
    if options.database and not sentinel:
        said.append(("SELECT", options.database))
    return said
