"""Connections of redis-py to one server: opened, pooled, and used to send many calls at once.

Calls are packed beforehand and sent by `send_packed_command`, and replies are read by `read_response`: a client object
of redis-py costs several times as much for each call.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from drivetrain.contract import ConnectionPool, ServiceUnavailable, finish_before_forks, socket_is_quiet
from drivetrain_redis.busy_poll import block, busy_poll
from drivetrain_redis.errors import CLIENT_ERRORS, mapped, server_text
from drivetrain_redis.options import Options
from drivetrain_redis.scripts import Call, Script, command, pack

__all__ = ["Address", "Client", "ServerConnection", "SingleClient", "connecting", "connection_pool", "socket_of"]

#: Host and port, or the path of a socket.
Address = tuple[str, int] | str

#: After errors with these codes the connection leads to a server that is no longer the right one, or not yet.
_WRONG_SERVER = ("READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED")


class RedisConnection(Protocol):
    """What is used of a connection of redis-py, which has no types for it."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_packed_command(self, command: Sequence[bytes]) -> None: ...
    def read_response(self, *, push_request: bool = False) -> Any: ...
    def can_read(self, timeout: float = 0) -> bool: ...


def open_connection(options: Options, address: Address) -> RedisConnection:
    """A connection of redis-py that is connected and logged in.

    Raises:
        redis.RedisError, OSError: the server cannot be reached, or refuses us.
        ConfigurationError: the certificates that the URL names cannot be used.
    """
    arguments = options.connection_arguments()
    kind: Any = SSLConnection if options.tls else Connection  # redis-py's classes are typed in part only
    if isinstance(address, str):
        kind = UnixDomainSocketConnection
        arguments["path"] = address
    else:
        arguments["host"], arguments["port"] = address
    connection: RedisConnection = kind(**arguments)
    try:
        with connecting(options):
            connection.connect()
    except RedisError:
        if options.tls and "ssl_password" not in options.driver_options:
            options.tls.context()  # raises if the files cannot be read: redis-py does not name them
        raise
    return connection


def connecting(options: Options) -> AbstractContextManager[None]:
    """The block in which redis-py connects: OpenSSL holds locks meanwhile that a forked child could never acquire."""
    return finish_before_forks() if options.tls else nullcontext()


def socket_of(connection: RedisConnection) -> socket.socket:
    """The socket of a connection, to be polled only. redis-py has no public name for it."""
    found: socket.socket = connection._sock  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return found


class ServerConnection:
    """A connection over which calls are sent. Used by one thread at a time."""

    __slots__ = ("_poll", "_read", "_send", "address", "redis")

    def __init__(self, options: Options, address: Address) -> None:
        """Connect; raises as `open_connection` does."""
        self.address = address
        self.redis = open_connection(options, address)
        self._send, self._read = self.redis.send_packed_command, self.redis.read_response
        # With TLS a socket may have nothing to read although a reply is there, and the reverse.
        self._poll = block if options.tls else busy_poll(socket_of(self.redis))

    def send(self, calls: Sequence[Call]) -> None:
        """Send calls; `receive` reads the replies.

        Raises:
            redis.RedisError: the connection is lost.
        """
        self._send([calls[0].packed] if len(calls) == 1 else [b"".join([call.packed for call in calls])])

    def receive(self, calls: Sequence[Call]) -> list[Any]:
        """The replies to calls that were sent, in order; errors of the server are among them, and not raised.

        A script that the server does not know was not run: it is loaded, and called again.

        Raises:
            redis.RedisError: the connection is lost, or the server has no access for us.
        """
        self._poll()
        replies = [self._reply() for _ in calls]
        for index, reply in enumerate(replies):
            script = calls[index].script
            if script is not None and isinstance(reply, NoScriptError):
                replies[index] = self._load_script(script, calls[index])
        return replies

    def ask(self, *arguments: Any) -> Any:
        """The reply to one command.

        Raises:
            redis.RedisError: it is an error, or the connection is lost.
        """
        self._send([pack(arguments)])
        return self._read()

    def close(self) -> None:
        """Close the connection."""
        self.redis.disconnect()

    def _reply(self) -> Any:
        try:
            return self._read()
        except ResponseError as error:
            return error

    def _load_script(self, script: Script, call: Call) -> Any:
        self._send([pack(("SCRIPT", "LOAD", script.source)) + call.packed])
        loaded, reply = self._reply(), self._reply()
        return loaded if isinstance(loaded, ResponseError) else reply


def await_replicas(connection: ServerConnection, calls: Sequence[Call], options: Options) -> None:
    """Return when as many replicas as the URL says have the writes of these calls.

    Raises:
        TimeoutError: they do not have them in time.
    """
    if options.wait_replicas and any(call.writes for call in calls):
        reached = connection.ask("WAIT", options.wait_replicas, int(options.call_timeout_seconds * 500))
        if reached < options.wait_replicas:
            wanted = options.wait_replicas
            raise TimeoutError(f"written, and confirmed by {reached} of {wanted} replicas in time (wait_replicas)")


def connection_pool(connect: Callable[[], ServerConnection]) -> ConnectionPool[ServerConnection]:
    """A pool of the connections to one server. Not redis-py's, whose lock and checks cost more than a call does."""
    return ConnectionPool(
        connect, ServerConnection.close, is_usable=lambda each: socket_is_quiet(socket_of(each.redis))
    )


class Client(Protocol):
    """What calls are sent to: one server, or a cluster. Thread-safe."""

    #: Whether keys of different tags may be used in one call.
    supports_cross_slot: bool

    @property
    def generation(self) -> int:
        """Changes when connections were lost: the server may be another one now."""
        ...

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Send calls, all at once; their replies in order.

        Raises:
            ServiceError: any of them failed; others may have been done.
        """
        ...

    def by_slot(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """The indexes of keys, in groups that one call can use."""
        ...

    def run_on_masters(self, *arguments: Any) -> list[Any]:
        """The reply of each master to a command."""
        ...

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """The names of keys, in pages; a key may appear twice.

        With each page comes the position of the next one, empty after the last page. A later call can start there.
        """
        ...

    def connect(self) -> ServerConnection:
        """A new connection, to any server, which its caller closes."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class SingleClient:
    """A client of one server, or of the present master behind sentinels.

    Args:
        options: of the URL.
        locate: finds the server's address.
        check: called with each new connection; see `drivetrain_redis.discovery.ServerCheck`.
    """

    supports_cross_slot = True

    def __init__(
        self, options: Options, locate: Callable[[], Address], check: Callable[[ServerConnection], None]
    ) -> None:
        self._options = options
        self._locate = locate
        self._check = check
        self._pool = connection_pool(self.connect)

    @property
    def generation(self) -> int:
        """See `Client.generation`."""
        return self._pool.generation

    def connect(self) -> ServerConnection:
        """See `Client.connect`."""
        connection = ServerConnection(self._options, self._locate())
        try:
            self._check(connection)
        except BaseException:  # raised again: nobody else has the connection
            connection.close()
            raise
        return connection

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """See `Client.run`."""
        try:
            connection = self._pool.take()
            try:
                connection.send(calls)
                replies = connection.receive(calls)
                if self._options.wait_replicas:
                    await_replicas(connection, calls, self._options)
            except BaseException:  # raised again: some replies may be unread
                self._pool.discard(connection)
                raise
        except CLIENT_ERRORS as error:
            raise mapped(error, self._options.shown) from error
        self._pool.give_back(connection)
        for reply in replies:
            if isinstance(reply, ResponseError):
                self._fail(reply)
        return replies

    def _fail(self, error: ResponseError) -> None:
        text = server_text(error)
        if text.startswith(_WRONG_SERVER):
            self._pool.clear()  # the next call looks up the server, and checks it
            if self._options.master:
                raise ServiceUnavailable(f"{self._options.shown}: {text}; a failover is going on") from error
        raise mapped(error, self._options.shown) from error

    def by_slot(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """See `Client.by_slot`."""
        return (range(len(keys)),)

    def run_on_masters(self, *arguments: Any) -> list[Any]:
        """See `Client.run_on_masters`."""
        return self.run([command(*arguments)])

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """See `Client.scan`."""
        cursor: Any = position or b"0"
        while True:
            ((cursor, names),) = self.run([command("SCAN", cursor, "MATCH", pattern, "COUNT", count, writes=False)])
            if cursor == b"0":
                yield b"", names
                return
            yield cursor, names

    def close(self) -> None:
        """See `Client.close`."""
        self._pool.clear()
