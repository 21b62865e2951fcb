"""The progress that a running task reports: what is reported, and under which key it is stored.

A report is a versioned value that ends by itself. Its key names the run, so that a run that has lost its task never
overwrites the report of the next one. It counts only while that run holds the task.
"""

from __future__ import annotations

import math
from typing import Protocol, TypeGuard

from msgspec import Struct

from drivetrain.worker.logs import get_logger
from drivetrain.worker.run import Run

__all__ = ["WRITE_SECONDS", "ProgressSink", "ReportedProgress", "progress_key", "progress_report"]

logger = get_logger("drivetrain.worker")

#: The keys of reports begin with it.
_PREFIX = "progress/"
#: How often reports are written, in seconds.
WRITE_SECONDS = 1.0
#: The longest note, in characters.
_LONGEST_NOTE = 200


class ReportedProgress(Struct, frozen=True):
    """What a task reports of its progress.

    Attributes:
        done: how much is done, 0 or more, in any unit.
        total: how much there is to do, in the same unit.
        note: what the task does now; empty: nothing was said.
    """

    done: int | float
    total: int | float
    note: str = ""


class ProgressSink(Protocol):
    """Takes the reports of running tasks."""

    def report(self, run: Run, progress: ReportedProgress) -> None:
        """Take a report, from any thread, also after the end of the run. Never blocks, and never raises."""
        ...


def progress_key(task_id: str, run: str) -> str:
    """The key of the report of a run."""
    return f"{_PREFIX}{task_id}/{run}"


def progress_report(done: object, total: object, note: object) -> ReportedProgress | None:
    """A report; None, and a line in the log, if one of them is not a number of 0 or more."""
    if _is_amount(done) and _is_amount(total):
        return ReportedProgress(done, total, str(note)[:_LONGEST_NOTE])
    logger.warning("ignoring the progress (%r, %r) of a task; both must be numbers of 0 or more", done, total)
    return None


def _is_amount(number: object) -> TypeGuard[float]:
    return isinstance(number, int | float) and 0 <= number < math.inf
