"""The exit codes, and the exit code of each error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from drivetrain.app.shown_schedules import UnknownSchedule
from drivetrain.app.worker_stopping import UnknownWorker
from drivetrain.contract import (
    AuthenticationFailed,
    ConfigurationError,
    DrivetrainError,
    InvalidSignature,
    ResultTimeout,
    ServiceUnavailable,
    UnknownResult,
    UnknownTask,
)

__all__ = ["MEANINGS", "Exit", "exit_code"]


class Exit(IntEnum):
    """The exit code of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    TIMEOUT = 124


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done; for a worker: stopped on request",
    Exit.FAILED: "failed: the task whose result was asked for, the worker, or the command itself",
    Exit.USAGE: "wrong usage or configuration",
    Exit.NOT_FOUND: "no such task, queue, schedule, worker or dead letter",
    Exit.UNAVAILABLE: "a service cannot be reached",
    Exit.TIMEOUT: "not finished in time",
}

# The first that fits counts; every other error of ours is FAILED.
_BY_ERROR: tuple[tuple[type[DrivetrainError], Exit], ...] = (
    (UnknownResult, Exit.NOT_FOUND),
    (UnknownTask, Exit.NOT_FOUND),
    (UnknownSchedule, Exit.NOT_FOUND),
    (UnknownWorker, Exit.NOT_FOUND),
    (ResultTimeout, Exit.TIMEOUT),
    (ServiceUnavailable, Exit.UNAVAILABLE),
    (AuthenticationFailed, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (InvalidSignature, Exit.USAGE),
)


def exit_code(error: DrivetrainError) -> Exit:
    """The exit code of a command that ends with this error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
