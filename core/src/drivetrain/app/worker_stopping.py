"""Stopping workers at run time."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import Backend, DrivetrainError, NotSupported, ValueWrite
from drivetrain.worker.status import WorkerStatus
from drivetrain.worker.stop_requests import STOP_SECONDS, StopRequest, stop_key
from drivetrain.worker.value_codec import encode
from drivetrain.worker.worker_statuses import worker_statuses

__all__ = ["UnknownWorker", "stop_workers"]

#: How many names of workers an error lists.
_MOST_NAMES = 10


class UnknownWorker(DrivetrainError):
    """No living worker has this name."""


def stop_workers(backend: Backend, names: Sequence[str], *, now: float, why: str, by: str) -> list[WorkerStatus]:
    """Ask workers to stop; their statuses before they did. If one is unknown, none is asked.

    Raises:
        NotSupported: the backend stores nothing.
        UnknownWorker: no living worker has one of these names.
        ServiceError: the backend could not be reached.
    """
    if not backend.capabilities.stores:
        raise NotSupported("stopping workers needs a backend that stores results, and this app's backend is null://")
    workers = {worker.name: worker for worker in worker_statuses(backend)}
    if unknown := [name for name in names if name not in workers]:
        raise UnknownWorker(f"no worker named {', '.join(map(repr, unknown))} reports; {_there_are(sorted(workers))}")
    found = [workers[name] for name in names]
    backend.write_values([_write(worker, now, why, by) for worker in found])
    return found


def _write(worker: WorkerStatus, now: float, why: str, by: str) -> ValueWrite:
    request = StopRequest(started=worker.started, since=now, why=why, by=by)
    return ValueWrite(key=stop_key(worker.name), value=encode(request), expires_in_seconds=STOP_SECONDS)


def _there_are(names: list[str]) -> str:
    if not names:
        return "no worker does"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"these do: {', '.join(names[:_MOST_NAMES])}{more}"
