"""Reading the statuses of all workers from the backend."""

from __future__ import annotations

from collections.abc import Iterator

from drivetrain.contract import VersionedValues
from drivetrain.worker.logs import get_logger
from drivetrain.worker.status import STATUS_PREFIX, WorkerStatus
from drivetrain.worker.value_codec import decode

__all__ = ["worker_statuses"]

logger = get_logger("drivetrain")

_PAGE = 100


def worker_statuses(backend: VersionedValues) -> Iterator[WorkerStatus]:
    """The statuses of the workers of this app that live, in any order. A status that cannot be read is logged.

    Raises:
        ServiceError: the backend could not be reached.
    """
    page = backend.list_values(STATUS_PREFIX, limit=_PAGE)
    while True:
        for key, stored in page.values:
            try:
                yield decode(stored.value, WorkerStatus)
            except ValueError as error:
                name = key.removeprefix(STATUS_PREFIX)
                logger.warning("cannot read the status of worker %s: %s; it may have a newer version", name, error)
        if page.cursor is None:
            return
        page = backend.list_values(STATUS_PREFIX, limit=_PAGE, cursor=page.cursor)
