"""A pool of connections, or of any client objects that one thread uses at a time."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from drivetrain.contract.clock import Clock
from drivetrain.contract.forks import reset_after_fork

__all__ = ["ConnectionPool", "socket_is_quiet"]

C = TypeVar("C")


class ConnectionPool(Generic[C]):
    """Shares connections among threads: a call takes one, and opens a new one where none is idle. Thread-safe.

    The connection that was given back last is taken first, so those that are not needed stay idle and are closed. A
    forked child begins with an empty pool. It drops its references to the connections of its parent and closes none:
    that could end the parent's session.

    Args:
        open_connection: opens a connection. Several threads may be inside it.
        close_connection: closes a connection, also one that is broken. It must not raise.
        is_usable: whether a connection that was idle can be used; `socket_is_quiet` answers that for a socket. It must
            not raise. None: it is not asked.
        check_after_seconds: how long a connection was idle when ``is_usable`` is asked, 0 or more.
        longest_idle_seconds: how long a connection may be idle and still be used, more than 0. Servers and firewalls
            drop idle connections, some without a notice. Idle connections are closed before twice this time has passed.
        clock: counts idle time. None: the system's clock, by which the server counts too.
    """

    # Without a lock: the ends of a deque are thread-safe, and the pool is in the path of every call.

    def __init__(
        self,
        open_connection: Callable[[], C],
        close_connection: Callable[[C], object],
        *,
        is_usable: Callable[[C], bool] | None = None,
        check_after_seconds: float = 1.0,
        longest_idle_seconds: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        self._open = open_connection
        self._close = close_connection
        self._is_usable = is_usable
        self._check_after_seconds = check_after_seconds
        self._longest_idle_seconds = longest_idle_seconds
        self._now = time.monotonic if clock is None else clock.monotonic
        self._next_closing = self._now() + longest_idle_seconds
        self.generation = 0
        """How often the pool was cleared. It grows after each failure: the server may be another one now."""
        self._reset()
        reset_after_fork(self)

    def _reset(self) -> None:
        #: Each with the time at which it was given back: the one that is idle for longest comes first.
        self._idle: deque[tuple[float, C]] = deque()
        #: The generation in which each connection was opened, by the identity of the connection.
        self._generations: dict[int, int] = {}

    @contextmanager
    def connection(self) -> Iterator[C]:
        """A connection for this block. If the block raises, the connection is closed and the pool cleared."""
        connection = self.take()
        try:
            yield connection
        except BaseException:  # raised again: whatever ended the block, half a reply may be unread
            self.discard(connection)
            raise
        self.give_back(connection)

    def take(self) -> C:
        """A connection, to be given once to `give_back` or `discard`. Raises what opening one raises."""
        try:
            while True:
                since, connection = self._idle.pop()
                idle_seconds = self._now() - since
                if idle_seconds < self._check_after_seconds or self._can_be_used(connection, idle_seconds):
                    return connection
                self._drop(connection)
        except IndexError:
            pass  # none is idle
        generation = self.generation  # as it was before: the pool may be cleared meanwhile
        connection = self._open()
        self._generations[id(connection)] = generation
        return connection

    def _can_be_used(self, connection: C, idle_seconds: float) -> bool:
        if idle_seconds >= self._longest_idle_seconds:
            return False
        return self._is_usable is None or self._is_usable(connection)

    def give_back(self, connection: C) -> None:
        """Let other threads use a connection. It is closed if the pool was cleared since it was opened."""
        now, generation = self._now(), self._generations.get(id(connection))
        if generation == self.generation:
            self._idle.append((now, connection))
            if generation != self.generation:
                self._close_idle()  # the pool was cleared at this moment
        else:
            self._drop(connection)
        if now >= self._next_closing:
            self._close_unneeded(now)

    def discard(self, connection: C) -> None:
        """Close a connection that has failed, and clear the pool: the others lead to the same server."""
        self._drop(connection)
        self.clear()

    def clear(self) -> None:
        """Close the idle connections now, and those in use when they are given back. The pool can be used again."""
        self.generation += 1
        self._close_idle()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._reset()
        self.generation += 1

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._drop(self._idle.popleft()[1])

    def _close_unneeded(self, now: float) -> None:
        self._next_closing = now + self._longest_idle_seconds
        with suppress(IndexError):
            while True:
                since, connection = self._idle.popleft()
                if now - since < self._longest_idle_seconds:
                    self._idle.appendleft((since, connection))
                    return
                self._drop(connection)

    def _drop(self, connection: C) -> None:
        if self._generations.pop(id(connection), None) is not None:  # otherwise it was opened before a fork
            self._close(connection)


def socket_is_quiet(connected: socket.socket) -> bool:
    """Whether an idle socket is open, as far as is known, and has nothing to read. Sends nothing and does not block.

    Between two calls a server sends nothing. What can be read is the end of the connection, or bytes that belong to no
    call. With TLS, ask after the first reply only: the server may send tickets of the session before it.
    """
    if connected.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return not poll.poll(0)
