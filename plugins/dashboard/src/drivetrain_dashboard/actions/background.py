"""Operations on many tasks: a worker runs them; where none lives, the dashboard does."""

from __future__ import annotations

import logging
import threading

from drivetrain import App
from drivetrain.app.bulk.operation import Operation
from drivetrain.contract import DrivetrainError

__all__ = ["ensure_running"]

logger = logging.getLogger("drivetrain.dashboard")


def ensure_running(app: App, operation: Operation) -> None:
    """Run an operation in a thread of this process if no worker lives that would run it.

    If this process ends before the operation, the next worker goes on with it.
    """
    if not app.operations.workers():
        threading.Thread(target=_run, args=[operation], name=f"operation {operation.id}", daemon=True).start()


def _run(operation: Operation) -> None:
    try:
        operation.run()
    except DrivetrainError as error:
        logger.warning("operation %s was interrupted: %s; a worker of the app goes on with it", operation.id, error)
