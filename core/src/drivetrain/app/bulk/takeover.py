"""The thread of a worker that runs operations which no process runs."""

from __future__ import annotations

import threading

from drivetrain.app.bulk.facade import Bulk
from drivetrain.app.services import Services
from drivetrain.contract import ServiceError
from drivetrain.worker.logs import get_logger
from drivetrain.worker.retrying import GaveUp

__all__ = ["OperationTakeover"]

logger = get_logger("drivetrain.operations")

#: How often a worker looks for operations, in seconds.
_POLL_SECONDS = 2.0


class OperationTakeover:
    """Runs operations that wait, and those whose process has died, until it is stopped. See `Companion`.

    Args:
        services: the services of the app.
        worker: the name of the worker.
    """

    #: The name of its thread.
    name = "drivetrain-operations"

    def __init__(self, services: Services, worker: str) -> None:
        self._services = services
        self._worker = worker
        self._end = threading.Event()
        self._failing = False

    def run(self) -> None:
        """Look for operations at regular intervals, and run them, until `stop` is called."""
        while not self._services.runtime.clock.wait_event(self._end, _POLL_SECONDS):
            try:
                self.run_active()
            except GaveUp:
                break
            except ServiceError as error:
                self._warn(f"cannot run operations: {error}; retrying every {_POLL_SECONDS:.0f} s")
            except Exception:  # a third-party driver may raise anything, and this thread must live on
                if not self._failing:
                    logger.exception("unexpected error while running operations; retrying")
                self._failing = True
            else:
                self._failing = False

    def run_active(self) -> None:
        """Run each operation that no other process runs, one after another.

        Raises:
            ServiceError: a service could not be reached.
        """
        bulk = Bulk(self._services)
        for operation_id in list(bulk.active()):
            if self._end.is_set():
                return
            bulk.runner(self._worker).run(operation_id, stopped=self._end.is_set)

    def stop(self) -> None:
        """End `run` after the page of tasks on which it acts."""
        self._end.set()

    def _warn(self, text: str) -> None:
        if not self._failing:
            logger.warning("%s", text)
        self._failing = True
