"""The end of a process that a task has forked: where the task's function ends in it too."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from drivetrain.contract import reset_after_fork

__all__ = ["await_in_one_process", "call_in_one_process"]

T = TypeVar("T")


class _Generation:
    """Which process this is: a number that changes with each fork. Asking the system takes ten times as long."""

    def __init__(self) -> None:
        self.number = 0
        reset_after_fork(self)

    def after_fork(self) -> None:
        self.number += 1


_generation = _Generation()


def call_in_one_process(function: Callable[[], T]) -> T:
    """The result of ``function``, in the process that calls it.

    ``function`` may fork, and return or raise in the child too. There this ends the process, as Python ends a script:
    the child has none of the worker's threads, and the task is its parent's.
    """
    generation = _generation.number
    try:
        result = function()
    except BaseException as error:
        if _generation.number != generation:
            _end_process(error)
        raise
    if _generation.number != generation:
        _end_process(None)
    return result


async def await_in_one_process(awaitable: Awaitable[T]) -> T:
    """As `call_in_one_process`, for what a coroutine returns or raises."""
    generation = _generation.number
    try:
        result = await awaitable
    except BaseException as error:
        if _generation.number != generation:
            _end_process(error)
        raise
    if _generation.number != generation:
        _end_process(None)
    return result


def _end_process(error: BaseException | None) -> NoReturn:
    code = 1
    try:
        code = _exit_code(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Not by sys.exit: this may be any thread of the parent, and what is cleaned up at exit is the parent's.
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    """What Python exits with after ``error``; what it prints before is printed."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)  # noqa: T201 - as Python does
    return 1
