"""Waking the thread that reads a socket, but not while somebody else reads it."""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress

__all__ = ["Watcher"]

_LONGEST_WAIT_SECONDS = 3600.0

if sys.platform == "linux":

    class Watcher:
        """Tells one thread when there is something to read; `mute` may be called by any."""

        def __init__(self, watched: socket.socket) -> None:
            self._socket = watched
            self._epoll = select.epoll()
            self._epoll.register(watched, select.EPOLLIN)

        def wait(self, timeout_seconds: float) -> bool:
            """Wait until there is something to read and it is not muted, or until the socket has ended."""
            return bool(self._epoll.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS)))

        def mute(self, muted: bool) -> None:
            """Let `wait` sleep on whatever comes; or no longer."""
            with suppress(OSError, ValueError):  # it was closed meanwhile
                self._epoll.modify(self._socket, 0 if muted else select.EPOLLIN)

        def close(self) -> None:
            """Let go of it."""
            self._epoll.close()

else:

    class Watcher:
        """The same where there is no epoll: it cannot be muted, so that the thread is woken in vain."""

        def __init__(self, watched: socket.socket) -> None:
            self._poll = select.poll()
            self._poll.register(watched, select.POLLIN)

        def wait(self, timeout_seconds: float) -> bool:
            """Wait until there is something to read, or until the socket has ended."""
            return bool(self._poll.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS) * 1000))

        def mute(self, muted: bool) -> None:
            """Not here."""

        def close(self) -> None:
            """Nothing to let go of."""
