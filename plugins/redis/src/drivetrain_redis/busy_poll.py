"""Busy-polling for a reply before a thread blocks: waking a blocked thread costs more than a short reply takes."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

__all__ = ["BusyPoll", "block", "busy_poll"]

#: How long a reply is polled for before the thread blocks.
_POLL_SECONDS = 150e-6
#: How many replies are not polled for after one that came later: polling for a far or busy server only costs CPU.
_BLOCKED_AFTER_LATE: Final = 4


class BusyPoll:
    """Polls briefly for the replies on one connection. Used by one thread at a time."""

    __slots__ = ("_blocks", "_can_read", "_clock")

    def __init__(self, can_read: Callable[[], object], clock: Callable[[], float] = perf_counter) -> None:
        """Make it.

        Args:
            can_read: whether there is something to read.
            clock: monotonic, in seconds.
        """
        self._can_read, self._clock = can_read, clock
        self._blocks = 0

    def poll(self) -> None:
        """Return when there is something to read, or when the thread had better block."""
        if self._blocks:
            self._blocks -= 1
            return
        end = self._clock() + _POLL_SECONDS
        while not self._can_read():
            if self._clock() > end:
                self._blocks = _BLOCKED_AFTER_LATE
                return
            os.sched_yield()  # the server may need this core


def busy_poll(plain: socket.socket) -> Callable[[], None]:
    """What to call before reading from a socket without TLS.

    On one core it does nothing: the server cannot reply while this thread polls.
    """
    if _cores() < 2 or not hasattr(os, "sched_yield"):
        return block
    poll = select.poll()
    poll.register(plain, select.POLLIN)
    return BusyPoll(partial(poll.poll, 0)).poll


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def block() -> None:
    """Poll for nothing: the read blocks."""
