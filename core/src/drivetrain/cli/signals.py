"""Signals as something to wait for, beside other things.

A handler in Python runs in the main thread, between any two steps of it: inside a lock that the handler needs too, for
instance. So Python's own C handler writes the signal's number to a socket, and a thread of ours reads it there.
"""

from __future__ import annotations

import signal
import socket
from enum import Flag, auto
from types import FrameType, TracebackType
from typing import Any, Self

from drivetrain.worker.fork_signals import restore_in_children
from drivetrain.worker.process_signals import (
    DUMP_SIGNAL,
    STOP_SIGNALS,
    dump_no_stacks_on_signal,
    dump_stacks_on_signal,
)

__all__ = ["Arrived", "Signals"]


class Arrived(Flag):
    """What signals have asked for."""

    NOTHING = 0
    #: SIGTERM, SIGINT or SIGHUP.
    STOP = auto()
    #: SIGUSR1. This process has written its stacks already; its children have not.
    DUMP = auto()


class Signals:
    """Collects the signals that ask for something, while it is entered. For the main thread.

    A SIGHUP that is ignored when it is entered (``nohup``) stays ignored; so does a SIGUSR1 that the application uses.

    Attributes:
        reader: readable when one has arrived, and when this is left.
        exited: whether that was seen.
    """

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}
        self._fd_before = -1
        self.exited = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, _go_on) for number in _watched()}
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if DUMP_SIGNAL in self._before:
            dump_stacks_on_signal()
        restore_in_children(_watched(), self._forget)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        self._writer.close()

    def arrived(self) -> Arrived:
        """What has been asked for since this was last called. Does not wait."""
        try:
            numbers = self.reader.recv(1024)
        except BlockingIOError:
            return Arrived.NOTHING
        self.exited = not numbers
        arrived = self._before.keys() & set(numbers)
        stop = Arrived.STOP if arrived.intersection(STOP_SIGNALS) else Arrived.NOTHING
        return stop | (Arrived.DUMP if DUMP_SIGNAL in arrived else Arrived.NOTHING)

    def _restore(self) -> None:
        if DUMP_SIGNAL in self._before:
            dump_no_stacks_on_signal()
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _forget(self) -> None:
        # A task may fork. Its child shares our socket, and a signal to the child must not stop the worker.
        if self._before:
            self._restore()


def _watched() -> list[signal.Signals]:
    # A shell without job control has SIGINT ignored by what it starts in the background; who sends it means it.
    watched = [one for one in STOP_SIGNALS if one.name != "SIGHUP" or signal.getsignal(one) is not signal.SIG_IGN]
    if DUMP_SIGNAL is not None and signal.getsignal(DUMP_SIGNAL) is signal.SIG_DFL:
        watched.append(DUMP_SIGNAL)
    return watched


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing: that there is a handler makes Python write to the socket."""
