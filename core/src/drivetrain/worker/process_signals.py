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
    "dump_stacks",
    "dump_stacks_on_signal",
    "leave_stopping_to_the_worker",
]

#: Those that ask a worker to stop. SIGHUP comes when its terminal is closed.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)  # fmt: skip
_STDERR = 2
#: The signal on which a process writes the stacks of all its threads to standard error; None: there is none.
DUMP_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)


def dump_stacks(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal: write the stacks of all threads to standard error.

    Not by `faulthandler.register`: its handler reads the frames of threads that run meanwhile, and may crash. A handler
    of Python holds the interpreter's lock.
    """
    faulthandler.dump_traceback(_STDERR)


def dump_stacks_on_signal() -> None:
    """Let `DUMP_SIGNAL` call `dump_stacks`, unless the application handles it. For the main thread."""
    if DUMP_SIGNAL is not None and signal.getsignal(DUMP_SIGNAL) in {signal.SIG_DFL, signal.SIG_IGN}:
        signal.signal(DUMP_SIGNAL, dump_stacks)


def leave_stopping_to_the_worker() -> Mapping[signal.Signals, Any]:
    """Let the signals that stop a worker do nothing to this child of it; the handlers before. For the main thread.

    They go to the whole group of processes, and the worker decides what becomes of its children. A handler, unlike
    SIG_IGN, is not inherited by the programs that a task starts.
    """
    ours = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _go_on) for number in ours}


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing."""
