"""What signals do to the processes of a worker, on platforms that have them."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

__all__ = [
    "DUMP_SIGNAL",
    "STOP_SIGNALS",
    "dump_no_stacks_on_signal",
    "dump_stacks_on_signal",
    "leave_stopping_to_the_worker",
]

#: Those that ask a worker to stop. SIGHUP comes when its terminal is closed.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)  # fmt: skip
#: The one upon which a process writes the stacks of all its threads to standard error; None: there is none.
DUMP_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None) if hasattr(faulthandler, "register") else None

_STDERR = 2


def dump_stacks_on_signal() -> None:
    """Let `DUMP_SIGNAL` write the stacks of all threads of this process, then do what it did before.

    What it did by default, it does no more: it ended the process.
    """
    if DUMP_SIGNAL is not None:
        faulthandler.register(DUMP_SIGNAL, file=_STDERR, chain=signal.getsignal(DUMP_SIGNAL) is not signal.SIG_DFL)


def dump_no_stacks_on_signal() -> None:
    """Take that back."""
    if DUMP_SIGNAL is not None:
        faulthandler.unregister(DUMP_SIGNAL)


def leave_stopping_to_the_worker() -> Mapping[signal.Signals, Any]:
    """Let the signals that stop a worker do nothing to this child of it; the handlers before. For the main thread.

    They go to the whole group of processes, and the worker decides what becomes of its children. A handler, unlike
    SIG_IGN, is not inherited by the programs that a task starts.
    """
    ours = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _go_on) for number in ours}


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing."""
