"""Waiting for an answer that comes at once: who goes to sleep for it is woken later than it comes."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

__all__ = ["Alert", "alert_for", "asleep"]

#: How long an answer is looked for before the caller goes to sleep for it.
_LOOK_SECONDS = 150e-6
#: How many answers are slept for after one that did not come so soon: a far or busy server costs little looking.
_SLEPT_FOR: Final = 4


class Alert:
    """Looks out for the answers on one connection. Used by one thread at a time."""

    __slots__ = ("_clock", "_is_there", "_to_sleep_for")

    def __init__(self, is_there: Callable[[], object], clock: Callable[[], float] = perf_counter) -> None:
        """Make it.

        Args:
            is_there: whether there is something to read.
            clock: seconds that only grow.
        """
        self._is_there, self._clock = is_there, clock
        self._to_sleep_for = 0

    def look(self) -> None:
        """Return when there is something to read, or when it is time to sleep for it."""
        if self._to_sleep_for:
            self._to_sleep_for -= 1
            return
        end = self._clock() + _LOOK_SECONDS
        while not self._is_there():
            if self._clock() > end:
                self._to_sleep_for = _SLEPT_FOR
                return
            # Whoever else wants this core, the server perhaps, is let in first.
            os.sched_yield()


def alert_for(plain: socket.socket) -> Callable[[], None]:
    """What to call before reading from a socket without TLS.

    Where there is one core only, that does nothing: the server cannot answer while we look.
    """
    if _cores() < 2 or not hasattr(os, "sched_yield"):
        return asleep
    poll = select.poll()
    poll.register(plain, select.POLLIN)
    return Alert(partial(poll.poll, 0)).look


def _cores() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def asleep() -> None:
    """Look for nothing: reading sleeps."""
