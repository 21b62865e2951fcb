"""Calls in forked children of this process."""

from __future__ import annotations

import os
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

from drivetrain_contract_tests.contract import NotRun

__all__ = ["in_child"]

#: A child that has not ended by then hangs.
_LONGEST_SECONDS = 60.0


def in_child(call: Callable[[], object]) -> None:
    """Make a call in a forked child of this process; returns when it has returned there.

    Raises:
        NotRun: processes do not fork on this system.
        AssertionError: the call has raised, which the message tells, or has not returned.
    """
    if not hasattr(os, "fork"):
        raise NotRun("processes do not fork on this system")
    told, telling = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forks in processes with threads; here they are what is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _call_and_end(call, telling)
    os.close(telling)
    try:
        ended = bool(select.select([told], [], [], _LONGEST_SECONDS)[0])
        if not ended:
            os.kill(child, signal.SIGABRT)  # by which pytest shows where it hangs
        os.waitpid(child, 0)
        assert ended, f"a call in a forked child has not returned within {_LONGEST_SECONDS} seconds"
        error = os.read(told, 65_536).decode()
    finally:
        os.close(told)
    assert not error, f"a call in a forked child has failed:\n{error}"


def _call_and_end(call: Callable[[], object], telling: int) -> NoReturn:
    # Whatever happens, no child may go on as if it were the process that runs the checks.
    try:
        call()
    except BaseException:  # noqa: BLE001
        os.write(telling, traceback.format_exc()[-30_000:].encode("utf-8", "backslashreplace"))
    finally:
        os._exit(0)
