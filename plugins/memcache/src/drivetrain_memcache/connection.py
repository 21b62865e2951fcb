"""Connections to Memcached: pymemcache opens them, and this module sends many commands in one round trip.

`Servers` sends each request to the server that holds its key, over a connection of that server's pool. `Connection` is
one pymemcache client.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pymemcache.client.base import Client  # type: ignore[import-untyped]
from pymemcache.client.rendezvous import RendezvousHash  # type: ignore[import-untyped]
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError  # type: ignore[import-untyped]

from drivetrain.contract import (
    Clock,
    ConfigurationError,
    ConnectionPool,
    ServiceRefused,
    ServiceUnavailable,
    finish_before_forks,
    socket_is_quiet,
)
from drivetrain_memcache.errors import CLIENT_ERRORS, mapped
from drivetrain_memcache.options import Options, Server
from drivetrain_memcache.protocol import PING, Item, Line, ReplyReader, Request, batches

__all__ = ["Connection", "Reply", "Servers"]

T = TypeVar("T")

#: The reply to a change is its line; the reply to a question is the items that were found.
Reply = bytes | dict[bytes, Item]

#: A server lists its keys to one client at a time. How often to ask a busy one, and the pause between, in seconds.
_LISTINGS = 200
_LISTING_PAUSE_SECONDS = 0.02
#: The first walks over the table of all items. Old servers know the second only, which may miss an item that moves.
_WALKS = (b"lru_crawler metadump hash", b"lru_crawler metadump all")


class Servers:
    """All servers of a URL. Thread-safe; a forked process opens its own connections.

    One server holds all items of an owner, also while it is away: then every call for that owner fails. Another server
    as a substitute would hold a second, different state of the same tasks.
    """

    def __init__(self, options: Options) -> None:
        self._pools = {server.name: _pool(server, options) for server in options.servers}
        # Sorted: of equal scores the first name wins, and the order in the URL must not matter.
        self._ring = RendezvousHash(sorted(self._pools), hash_function=_score)

    @property
    def names(self) -> Sequence[str]:
        """The names of all servers."""
        return list(self._pools)

    def server_of(self, owner: str) -> str:
        """The name of the server that holds the items of ``owner``."""
        if len(self._pools) == 1:
            return next(iter(self._pools))
        return str(self._ring.get_node(owner))

    def by_server(self, owners: Sequence[str]) -> Mapping[str, list[int]]:
        """The positions in ``owners``, grouped by the server that holds their items."""
        if len(self._pools) == 1:
            return {self.server_of(""): list(range(len(owners)))} if owners else {}
        servers = {owner: self.server_of(owner) for owner in dict.fromkeys(owners)}  # all members of a group share one
        positions: dict[str, list[int]] = defaultdict(list)
        for position, owner in enumerate(owners):
            positions[servers[owner]].append(position)
        return positions

    def exchange(self, server: str, requests: Sequence[Request]) -> list[Reply]:
        """Send requests to one server; the replies, in order.

        Raises:
            ServiceError: the server could not be reached, or refused.
        """
        if not requests:
            return []
        return self._call(server, lambda connection: connection.exchange(requests))

    def list_keys(self, server: str, beginning: bytes, clock: Clock) -> list[bytes]:
        """All keys on one server that begin so. It walks over the keys of others too: for operators only.

        Raises:
            ServiceRefused: the server does not list its keys.
            ServiceUnavailable: it could not be reached, or listed keys to other clients all the time.
        """
        first = b"key=" + quote_from_bytes(beginning, safe="").encode("ascii")
        refusal = b""
        for walk in _WALKS:
            for _ in range(_LISTINGS):
                lines = self._lines(server, walk)
                if not lines or lines[0].startswith(b"key="):
                    return [unquote_to_bytes(line[4 : line.index(b" ")]) for line in lines if line.startswith(first)]
                refusal = lines[0]
                if not refusal.startswith(b"BUSY"):
                    break
                clock.wait_event(threading.Event(), _LISTING_PAUSE_SECONDS)
            else:
                raise ServiceUnavailable(f"memcached {server} lists its keys to other clients all the time; try again")
        answer = refusal.decode("ascii", "replace")
        raise ServiceRefused(f"memcached {server} does not list its keys, so nothing can be counted: {answer}")

    def _lines(self, server: str, walk: bytes) -> list[bytes]:
        return self._call(server, lambda connection: connection.lines(walk))

    def ping(self) -> None:
        """Return if every server answers."""
        for name in self.names:
            self.exchange(name, [PING])

    def close(self) -> None:
        """Close all connections; those in use are closed after their call."""
        for pool in self._pools.values():
            pool.clear()

    def _call(self, server: str, call: Callable[[Connection], T]) -> T:
        """The result of a call over a connection to a server; its errors are raised as those of the contract."""
        try:
            with self._pools[server].connection() as connection:
                return call(connection)
        except CLIENT_ERRORS as error:
            raise mapped(error, server) from error


def _pool(server: Server, options: Options) -> ConnectionPool[Connection]:
    def connection() -> Connection:
        return Connection(server, options, _tls_context(options))

    return ConnectionPool(connection, Connection.close, is_usable=Connection.is_usable)


class Connection:
    """A pymemcache client whose socket carries many requests in one round trip.

    pymemcache connects, with its time-outs, TLS and keepalive, and signs in. `exchange` then uses the client's socket.
    Not for several threads at once. Any error closes it; the next call connects again.
    """

    def __init__(self, server: Server, options: Options, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._options = options
        self._tls = tls
        self._client: Any = None
        #: The run of the server to which this is connected; empty where a proxy does not reveal it.
        self._run = b""

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all requests in as few round trips as possible; the replies, in order.

        A request with a cas token of an earlier run of the server is not sent: the item there is another one.
        """
        with self._socket() as connected:
            replies: list[Reply] = []
            reader = ReplyReader.of(connected, self._run)
            for some in batches(requests):
                connected.sendall(b"".join(request.data for request in some if not self._is_outdated(request)))
                replies += [Line.EXISTS if self._is_outdated(one) else _read(reader, one) for one in some]
            return replies

    def lines(self, walk: bytes) -> list[bytes]:
        """The lines that answer a walk over all items; or one line that refuses it."""
        with self._socket() as connected:
            connected.sendall(walk + b"\r\n")
            # All lines of a walk but the last one end by a line feed alone.
            *lines, end = ReplyReader.of(connected).line().split(b"\n")
            return lines if end == b"END" else [*lines, end]

    def close(self) -> None:
        """Close the socket, if it is open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def is_usable(self) -> bool:
        """Whether an idle connection can be used, as far as is known."""
        return self._client is None or socket_is_quiet(self._client.sock)

    def _is_outdated(self, request: Request) -> bool:
        return request.run is not None and request.run != self._run

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        try:
            if self._client is None:
                self._client = self._connected()
                self._inspect(self._client.sock)
            yield self._client.sock
        except BaseException:  # raised again: nobody may read the rest of its replies
            self.close()
            raise

    def _connected(self) -> Any:
        if self._server.path:
            return self._open(self._server.path, socket)
        failure: OSError | None = None
        for address in socket.getaddrinfo(
            self._server.host, self._server.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        ):
            try:
                return self._open((self._server.host, self._server.port), _ResolvedSocket(address))
            except ssl.SSLError:
                raise  # the server was reached, so another address would only hide the reason
            except OSError as error:
                failure = error
        raise failure or OSError(f"{self._server.host} has no address")

    def _open(self, address: str | tuple[str, int], socket_module: Any) -> Any:
        options = self._options
        client = Client(
            address,
            connect_timeout=options.connect_timeout_seconds,
            timeout=options.call_timeout_seconds,
            no_delay=True,
            socket_module=socket_module,
            socket_keepalive=options.socket_keepalive,
            tls_context=self._tls,
        )
        # pymemcache connects at its first command. OpenSSL holds locks meanwhile, which a forked child would inherit.
        handshake: AbstractContextManager[None] = nullcontext() if self._tls is None else finish_before_forks()
        try:
            with handshake:
                if options.user:
                    client.set(b"drivetrain", f"{options.user} {options.password}".encode(), noreply=False)
                else:
                    client.version()
        except BaseException:  # raised again: nobody else could close the client
            client.close()
            raise
        return client

    def _inspect(self, connected: socket.socket) -> None:
        """Refuse a server that lacks what the driver needs, and note its run."""
        connected.sendall(b"stats settings\r\nstats\r\n")
        reader = ReplyReader.of(connected)
        settings, figures = reader.stats(), reader.stats()
        self._run = _run_of(figures)
        if settings.get(b"cas_enabled") == b"no":
            raise MemcacheServerError("cas disabled")
        largest = int(settings.get(b"item_size_max", self._options.item_bytes))
        if largest < self._options.item_bytes:
            raise MemcacheClientError(
                f"its largest item (-I) has {largest} bytes, and the URL says {self._options.item_bytes}; "
                f"write ?item_bytes={largest}"
            )


class _ResolvedSocket:
    """The module `socket`, as pymemcache accepts one, in which a name has one address.

    pymemcache tries the first address of a name only, so ``localhost`` fails where that is ::1 and the server listens
    on 127.0.0.1.
    """

    def __init__(self, address: tuple[Any, ...]) -> None:
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def getaddrinfo(self, *_: Any) -> list[tuple[Any, ...]]:
        """The one address."""
        return [self._address]


def _tls_context(options: Options) -> ssl.SSLContext | None:
    """The TLS settings of a connection; None: no TLS.

    Raises:
        ServiceRefused: a file that the URL names cannot be used.
    """
    if options.tls is None:
        return options.tls_context
    try:
        return options.tls.context()
    except ConfigurationError as error:
        raise ServiceRefused(f"{error}; check the files that the URL names") from error


def _run_of(figures: Mapping[bytes, bytes]) -> bytes:
    """The run of a server: its process id and the second in which it started.

    In a container the process id is always 1, so two runs have one name only if both began within one second.
    """
    if not {b"pid", b"time", b"uptime"} <= set(figures):
        return b""
    return b"%s:%d" % (figures[b"pid"], int(figures[b"time"]) - int(figures[b"uptime"]))


def _read(reader: ReplyReader, request: Request) -> Reply:
    return reader.answer(request.replies) if request.replies else reader.items()


def _score(text: str, seed: int) -> int:
    # pymemcache's own hash, murmur3 in Python, takes ten times as long.
    del seed
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
