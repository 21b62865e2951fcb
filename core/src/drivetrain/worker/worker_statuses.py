"""Reading the statuses of all workers from the backend."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import VersionedValues
from drivetrain.worker.logs import get_logger
from drivetrain.worker.status import STATUS_PREFIX, WorkerStatus
from drivetrain.worker.value_codec import decode
from drivetrain.worker.value_listing import values_under

__all__ = ["worker_statuses"]

logger = get_logger("drivetrain")


def worker_statuses(backend: VersionedValues) -> Iterator[WorkerStatus]:
    """The statuses of the workers of this app that live, in any order. A status that cannot be read is logged.

    Raises:
        ServiceError: the backend could not be reached.
    """
    for name, stored in values_under(backend, STATUS_PREFIX):
        try:
            yield decode(stored.value, WorkerStatus)
        except ValueError as error:
            logger.warning("cannot read the status of worker %s: %s; it may have a newer version", name, error)
