"""Signals as a socket, so that a thread can wait for them together with other connections.

A Python handler runs in the main thread between any two steps, perhaps while that thread has a lock which the handler
needs. So the C handler of Python writes the signal's number to a socket, and another thread reads it there.
"""

from __future__ import annotations

import signal
import socket
from enum import Flag, auto
from types import FrameType, TracebackType
from typing import Any, Self

from drivetrain.worker.fork_signals import restore_in_children
from drivetrain.worker.process_signals import DUMP_SIGNAL, STOP_SIGNALS, dump_stacks

__all__ = ["Arrived", "Signals"]


class Arrived(Flag):
    """The requests of the signals that have arrived."""

    NOTHING = 0
    #: SIGTERM, SIGINT or SIGHUP.
    STOP = auto()
    #: SIGUSR1. This process writes its stacks itself; its children do not get the signal.
    DUMP = auto()


class Signals:
    """Collects stop and dump signals while its context is entered. For the main thread.

    A SIGHUP that is ignored when it is entered (``nohup``) stays ignored; so does a SIGUSR1 that the application uses.

    Attributes:
        reader: readable when a signal has arrived, and when the context is exited.
        exited: whether `arrived` has seen the exit of the context.
    """

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}
        self._fd_before = -1
        self.exited = False

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, dump_stacks if number is DUMP_SIGNAL else _ignore) for number in _watched()
        }
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        restore_in_children(_watched(), self._forget)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        self._writer.close()

    def arrived(self) -> Arrived:
        """The requests since the last call. Does not wait."""
        try:
            numbers = self.reader.recv(1024)
        except BlockingIOError:
            return Arrived.NOTHING
        self.exited = not numbers
        arrived = self._before.keys() & set(numbers)
        stop = Arrived.STOP if arrived.intersection(STOP_SIGNALS) else Arrived.NOTHING
        return stop | (Arrived.DUMP if DUMP_SIGNAL in arrived else Arrived.NOTHING)

    def _restore(self) -> None:
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _forget(self) -> None:
        # A task may fork. Its child shares our socket, and a signal to the child must not stop the worker.
        if self._before:
            self._restore()


def _watched() -> list[signal.Signals]:
    # Also an ignored SIGINT: a shell without job control sets that for background commands, but an explicit one counts.
    watched = [one for one in STOP_SIGNALS if one.name != "SIGHUP" or signal.getsignal(one) is not signal.SIG_IGN]
    if DUMP_SIGNAL is not None and signal.getsignal(DUMP_SIGNAL) is signal.SIG_DFL:
        watched.append(DUMP_SIGNAL)
    return watched


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the existence of a handler makes Python write to the socket."""
