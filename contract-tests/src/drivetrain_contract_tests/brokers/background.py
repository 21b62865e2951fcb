"""Calls in other threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Background", "frequent_switches", "rounds", "together"]

T = TypeVar("T")

#: A thread that is not done by then never will be.
_LONGEST_SECONDS = 60.0


class Background(Generic[T]):
    """A call in another thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._answers: list[T] = []
        self._error: Exception | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="drivetrain-contract", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answers.append(self._call())
        except Exception as error:  # noqa: BLE001  raised by `result`
            self._error = error
        finally:
            self._ended.set()

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it has returned or raised within this many seconds."""
        return self._ended.wait(seconds)

    def result(self, seconds: float = _LONGEST_SECONDS) -> T:
        """What it has returned; raises what it has raised."""
        assert self.ended(seconds), f"the call has not returned within {seconds} seconds"
        if self._error is not None:
            raise self._error
        return self._answers[0]


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Let Python switch between threads as often as it can: what is looked up first and changed later is then found.

    The setting is one for the whole process.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def rounds(seconds: float) -> Iterator[int]:
    """Numbers from 0, for as long as ``seconds``; three at least. A race is provoked for a time, and not a number."""
    number, deadline = 0, time.monotonic() + seconds
    while number < 3 or time.monotonic() < deadline:
        yield number
        number += 1


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run calls in threads that start at the same instant; what they have returned."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(_LONGEST_SECONDS)
        return call()

    running = [Background(lambda call=call: run(call)) for call in calls]  # type: ignore[misc]
    return [each.result() for each in running]
