"""What errors of drivetrain are for a browser: a status, and a sentence. Pure."""

from __future__ import annotations

from drivetrain import UnknownSchedule, UnknownWorker
from drivetrain.contract import (
    ConfigurationError,
    DrivetrainError,
    InvalidSignature,
    NotSupported,
    ServiceError,
    UnknownResult,
)

__all__ = ["status_of"]

# The first that fits counts; every other error of ours is a conflict with the state of the app.
_BY_ERROR: tuple[tuple[type[DrivetrainError], int], ...] = (
    (UnknownResult, 404),
    (UnknownSchedule, 404),
    (UnknownWorker, 404),
    (ServiceError, 503),
    (NotSupported, 409),
    (ConfigurationError, 422),
    (InvalidSignature, 422),
)


def status_of(error: DrivetrainError) -> int:
    """The status of an answer that reports this error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), 409)
