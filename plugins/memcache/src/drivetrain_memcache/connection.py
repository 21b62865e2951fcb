"""One connection to one server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from drivetrain.contract import finish_before_forks
from drivetrain_memcache.library import (
    Client,
    MemcacheClientError,
    MemcacheServerError,
)
from drivetrain_memcache.options import Options, Server
from drivetrain_memcache.protocol import Replies, Request, Stored, Value, slices

__all__ = ["Connection", "Reply"]

#: To a change its line, to a question the items that were found.
Reply = bytes | dict[bytes, Value]


class Connection(Client):  # type: ignore[misc]
    """pymemcache's client, which connects by all addresses of a name, signs in, looks at the server, and pipelines.

    Not for several threads at once. Any error closes it; the next call connects anew.
    """

    sock: socket.socket | None

    def __init__(self, server: Server, options: Options, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            server.path or (server.host, server.port),
            connect_timeout=options.connect_timeout_seconds,
            timeout=options.timeout_seconds,
            tls_context=tls,
            default_noreply=False,
        )
        self._place = server
        self._options = options
        #: Which life of the server this is connected to; empty where a proxy does not tell.
        self._life = b""

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all and read their replies, in order; as few round trips as there may be.

        What was read before the server started anew changes nothing: what is there now is another item.
        """
        with self._open() as connected:
            replies: list[Reply] = []
            reader = Replies.of(connected, self._life)
            for some in slices(requests):
                connected.sendall(b"".join(request.data for request in some if not self._outlived(request)))
                replies += [Stored.EXISTS if self._outlived(one) else _read(reader, one) for one in some]
            return replies

    def _outlived(self, request: Request) -> bool:
        return request.life is not None and request.life != self._life

    def keys(self, walk: bytes) -> list[bytes]:
        """What a walk over all items answers, a line for each; or one line that says why not."""
        with self._open() as connected:
            connected.sendall(walk + b"\r\n")
            *lines, end = Replies.of(connected).line().split(b"\n")  # only the last line ends as lines do elsewhere
            return lines if end == b"END" else [*lines, end]

    @contextmanager
    def _open(self) -> Iterator[socket.socket]:
        try:
            yield self.sock or self._connected()
        except BaseException:
            self.close()  # what is left in it belongs to nobody
            raise

    def _connect(self) -> None:
        self._connected()

    def _connected(self) -> socket.socket:
        # pymemcache's own tries the first address of a name only, so that "localhost" may not be reached.
        self.close()
        connected = self._reach()
        try:
            if self.tls_context is not None:
                with finish_before_forks():
                    connected = self.tls_context.wrap_socket(connected, server_hostname=self._place.host)
            connected.settimeout(self.timeout)
            self._sign_in(connected)
            self._look(connected)
        except BaseException:
            connected.close()
            raise
        self.sock = connected
        return connected

    def _reach(self) -> socket.socket:
        if self._place.path:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.settimeout(self.connect_timeout)
                connected.connect(self._place.path)
            except BaseException:
                connected.close()
                raise
            return connected
        connected = socket.create_connection((self._place.host, self._place.port), self.connect_timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _sign_in(self, connected: socket.socket) -> None:
        if not self._options.user:
            return
        words = f"{self._options.user} {self._options.password}".encode()
        connected.sendall(b"set drivetrain 0 0 %d\r\n%s\r\n" % (len(words), words))
        Replies.of(connected).reply((Stored.STORED,))

    def _look(self, connected: socket.socket) -> None:
        """Refuse a server that cannot do what everything rests on, and see which life of it this is."""
        connected.sendall(b"stats settings\r\nstats\r\n")
        replies = Replies.of(connected)
        settings, figures = replies.settings(), replies.settings()
        self._life = _life(figures)
        if settings.get(b"cas_enabled") == b"no":
            raise MemcacheServerError("cas disabled")
        largest = int(settings.get(b"item_size_max", self._options.item_bytes))
        if largest < self._options.item_bytes:
            raise MemcacheClientError(
                f"its largest item (-I) has {largest} bytes, and the URL says {self._options.item_bytes}; "
                f"write ?item_bytes={largest}"
            )


def _life(figures: Mapping[bytes, bytes]) -> bytes:
    """The process of a server, and the second in which it started.

    In a container, where the process is always 1, two lives share them only if both began within one second.
    """
    if not {b"pid", b"time", b"uptime"} <= set(figures):
        return b""
    return b"%s:%d" % (figures[b"pid"], int(figures[b"time"]) - int(figures[b"uptime"]))


def _read(reader: Replies, request: Request) -> Reply:
    return reader.reply(request.replies) if request.replies else reader.values()
