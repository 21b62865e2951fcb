"""All servers of a URL: which of them keeps what, and connections to each."""

from __future__ import annotations

import os
import ssl
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b

from drivetrain.contract import ServiceRefused, finish_before_forks
from drivetrain_memcache.connection import Connection, Reply
from drivetrain_memcache.errors import CLIENT_ERRORS, mapped
from drivetrain_memcache.library import RendezvousHash
from drivetrain_memcache.options import Options, Server
from drivetrain_memcache.protocol import PING, Request

__all__ = ["Servers"]


class Servers:
    """Asks each server for what it keeps. Thread-safe; a forked process makes connections of its own.

    What belongs to one owner is always on the same server, also while that is away: then asking for it fails. To ask
    another one instead would make a second truth beside the one that comes back.
    """

    def __init__(self, options: Options) -> None:
        pools = [_Pool(server, options) for server in options.servers]
        self._pools = {pool.server.name: pool for pool in pools}
        # The order in the URL does not matter: of equal scores the greater name wins.
        self._ring = RendezvousHash(sorted(self._pools), hash_function=_score)

    @property
    def names(self) -> Sequence[str]:
        """Of all of them."""
        return list(self._pools)

    def place(self, owner: str) -> str:
        """The name of the server that keeps what belongs to ``owner``."""
        if len(self._pools) == 1:
            return next(iter(self._pools))
        return str(self._ring.get_node(owner))

    def spread(self, owners: Sequence[str]) -> Mapping[str, list[int]]:
        """For each server that is concerned, the positions in ``owners`` of those whose it is."""
        if len(self._pools) == 1:
            return {self.place(""): list(range(len(owners)))} if owners else {}
        places = {owner: self.place(owner) for owner in dict.fromkeys(owners)}  # all members of a group have one
        spread: dict[str, list[int]] = defaultdict(list)
        for position, owner in enumerate(owners):
            spread[places[owner]].append(position)
        return spread

    def exchange(self, server: str, requests: Sequence[Request]) -> list[Reply]:
        """Ask one server.

        Raises:
            ServiceError: it could not be reached, or refused.
        """
        if not requests:
            return []
        with self._pools[server].connection() as connection:
            return connection.exchange(requests)

    def keys(self, server: str, walk: bytes) -> list[bytes]:
        """See `Connection.keys`.

        Raises:
            ServiceError: it could not be reached.
        """
        with self._pools[server].connection() as connection:
            return connection.keys(walk)

    def ping(self) -> None:
        """Return if every server answers."""
        for name in self.names:
            self.exchange(name, [PING])

    def close(self) -> None:
        """Let go of all connections; those in use are closed when they come back."""
        for pool in self._pools.values():
            pool.close()


class _Pool:
    """Connections to one server that nobody uses at the moment."""

    def __init__(self, server: Server, options: Options) -> None:
        self.server = server
        self._options = options
        self._pid = os.getpid()
        self._closings = 0
        self._idle: deque[Connection] = deque()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for one exchange."""
        if self._pid != os.getpid():
            self._forked()
        closings, idle = self._closings, self._idle
        connection = self._take()
        try:
            yield connection
        except CLIENT_ERRORS as error:
            connection.close()
            self._drop_idle()  # if the server has gone they are dead too, and each would fail once
            raise mapped(error, self.server.name) from error
        except BaseException:
            connection.close()
            raise
        idle.append(connection)  # the one that was last used is taken first: those that are not needed grow old
        if closings != self._closings:
            self._drop_idle()

    def close(self) -> None:
        """Close those that are idle, and those in use when they come back."""
        self._closings += 1
        self._drop_idle()

    def _take(self) -> Connection:
        with suppress(IndexError):
            return self._idle.pop()
        return Connection(self.server, self._options, self._tls())

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _forked(self) -> None:
        """Let the parent's connections be: what one of us reads, the other would miss."""
        self._pid = os.getpid()
        for connection in self._idle:
            connection.close()  # this process's end only; the parent's stays open
        self._idle = deque()

    def _tls(self) -> ssl.SSLContext | None:
        if not self._options.tls:
            return None
        try:
            with finish_before_forks():
                return ssl.create_default_context(cafile=self._options.ca_file or None)
        except OSError as error:
            raise ServiceRefused(f"the ca_file {self._options.ca_file} cannot be read: {error}") from error


def _score(text: str, seed: int) -> int:
    # pymemcache's own, murmur3 in Python, takes ten times as long.
    del seed
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
