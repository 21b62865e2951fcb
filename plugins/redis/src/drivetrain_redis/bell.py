"""Being woken by the server: a subscription to a channel of one's own.

Nobody polls. Who waits writes the name of its channel beside what it waits for, in the same step in which it sees that
there is nothing yet; who brings that publishes to these channels. A channel and not a blocking command, because one
wait is for several queues or tasks, on several nodes of a cluster, and must end when its object is closed.
"""

from __future__ import annotations

import secrets
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drivetrain_redis.wire import Wire

__all__ = ["Bell"]


class Bell:
    """A channel of one's own. Used by one thread at a time, but for `ring` and `close`."""

    def __init__(self, prefix: str, connect: Callable[[], Wire]) -> None:
        """Make it; it is connected when it is first waited on.

        Args:
            prefix: of the channel's name.
            connect: opens a connection.
        """
        #: For whoever keeps it.
        self.generation = 0
        self.channel = f"{prefix}:bell:{secrets.token_hex(8)}"
        self._connect = connect
        self._wire: Wire | None = None
        self._poll = select.poll()
        # By which another thread of this process rings.
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._poll.register(self._near, select.POLLIN)

    def listen(self) -> None:
        """Be subscribed when this returns. What was rung before may have been missed: look once more.

        Raises:
            OSError, ConnectionLost, hiredis.ReplyError: the server is away, or refuses.
        """
        if self._wire is not None:
            return
        wire = self._connect()
        try:
            wire.ask("SUBSCRIBE", self.channel)
            wire.socket.setblocking(False)
            self._poll.register(wire.socket, select.POLLIN)
        except BaseException:
            wire.close()
            raise
        self._wire = wire

    def wait(self, seconds: float) -> list[bytes]:
        """Wait until it is rung, at most so long; what was said. Empty also when rung by this process.

        Raises:
            OSError, ConnectionLost: the connection was lost.
        """
        ready = [file for file, _ in self._poll.poll(max(0.0, seconds * 1000.0))]
        if self._near.fileno() in ready:
            with suppress(BlockingIOError):
                while self._near.recv(64):
                    continue
        return [] if self._wire is None else self._said(self._wire)

    def _said(self, wire: Wire) -> list[bytes]:
        try:
            return [_text(push) for push in wire.read_waiting()]
        except BaseException:
            self.disconnect()
            raise

    def ring(self) -> None:
        """Wake who waits; by any thread."""
        with suppress(OSError):  # full: it is awake already; closed: nobody waits
            self._far.send(b"!")

    def disconnect(self) -> None:
        """Let go of the connection; the next `listen` opens another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            with suppress(KeyError, ValueError):
                self._poll.unregister(wire.socket)
            wire.close()

    def close(self) -> None:
        """Let go of everything."""
        self.disconnect()
        self._near.close()
        self._far.close()


def _text(push: Any) -> bytes:
    return push[2] if isinstance(push, list) and len(push) == 3 and isinstance(push[2], bytes) else b""
