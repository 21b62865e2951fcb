"""SIGTERM and SIGINT as something to wait for, beside other things.

A handler in Python runs in the main thread, between any two steps of it: inside a lock that the handler needs too, for
instance. So Python's own C handler writes the signal's number to a socket, and a thread of ours reads it there.
"""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Signals"]

_WATCHED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Collects the signals that ask for a stop, while it is entered. For the main thread.

    Attributes:
        reader: readable when one has arrived, and when this is left.
        left: whether that was seen.
    """

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}
        self._fd_before = -1
        self.left = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, _go_on) for number in _WATCHED}
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        self._writer.close()

    def arrived(self) -> bool:
        """Whether any has arrived since this was last asked. Does not wait."""
        try:
            numbers = self.reader.recv(1024)
        except BlockingIOError:
            return False
        self.left = not numbers
        return bool(_WATCHED_BYTES.intersection(numbers))

    def _restore(self) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _forget(self) -> None:
        # A task may fork. Its child shares our socket, and a signal to the child must not stop the worker.
        if self._before:
            self._restore()


_WATCHED_BYTES = frozenset(map(int, _WATCHED))


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing: that there is a handler makes Python write to the socket."""
