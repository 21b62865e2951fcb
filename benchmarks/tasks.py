"""The tasks that every contestant runs. Each takes one argument, and does next to nothing: the queue is measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

__all__ = ["TASKS", "double", "length", "record", "total"]


def double(number: int) -> int:
    return 2 * number


def total(numbers: list[int]) -> int:
    return sum(numbers)


def length(text: str) -> int:
    return len(text)


def record(line: str) -> int:
    """Append to a file that, and when, this ran; ``line`` is the file's path, a blank and a number."""
    path, _, number = line.rpartition(" ")
    # One write in append mode: lines of several threads and processes do not mix.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{number} {time.time()}\n".encode())
    os.close(file)
    return int(number)


TASKS: dict[str, Callable[[Any], Any]] = {task.__name__: task for task in (double, total, length, record)}
