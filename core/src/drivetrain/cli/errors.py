"""The text that a command prints for an error."""

from __future__ import annotations

import traceback

from drivetrain.cli.app_options import AppOptions
from drivetrain.cli.secrets import without_secrets
from drivetrain.contract import DrivetrainError

__all__ = ["message_of"]


def message_of(error: DrivetrainError, options: AppOptions) -> str:
    """The error in one message, without secrets. With ``--verbose``, its traceback follows."""
    trace = "".join(traceback.format_exception(error)) if options.verbose else ""
    return without_secrets(f"{trace}Error: {error}", options.secrets())
