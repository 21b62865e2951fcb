"""Stopping a worker at run time."""

from __future__ import annotations

from drivetrain.contract import Backend, DrivetrainError, NotSupported, ValueWrite
from drivetrain.worker.status import WorkerStatus
from drivetrain.worker.stop_requests import STOP_SECONDS, StopRequest, stop_key
from drivetrain.worker.value_codec import encode
from drivetrain.worker.worker_statuses import worker_statuses

__all__ = ["UnknownWorker", "stop_worker"]

#: How many names of workers an error lists.
_MOST_NAMES = 10


class UnknownWorker(DrivetrainError):
    """No living worker has this name."""


def stop_worker(backend: Backend, name: str, *, now: float, why: str, by: str) -> WorkerStatus:
    """Ask a worker to stop; its status before it did.

    Raises:
        NotSupported: the backend stores nothing.
        UnknownWorker: no living worker has this name.
        ServiceError: the backend could not be reached.
    """
    if not backend.capabilities.stores:
        raise NotSupported("stopping a worker needs a backend that stores results, and this app's backend is null://")
    workers = {worker.name: worker for worker in worker_statuses(backend)}
    if name not in workers:
        raise UnknownWorker(f"no worker named {name!r} reports; {_there_are(sorted(workers))}")
    worker = workers[name]
    request = StopRequest(started=worker.started, since=now, why=why, by=by)
    backend.write_values([ValueWrite(key=stop_key(name), value=encode(request), expires_in_seconds=STOP_SECONDS)])
    return worker


def _there_are(names: list[str]) -> str:
    if not names:
        return "no worker does"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"these do: {', '.join(names[:_MOST_NAMES])}{more}"
