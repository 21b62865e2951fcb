"""The overview of an operator: queues, workers and running tasks at one moment, and rates between two moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from msgspec import to_builtins

from drivetrain.app.application import App
from drivetrain.cli.counts_documents import counts_document
from drivetrain.cli.output import timestamp
from drivetrain.contract import QueueSizes
from drivetrain.worker.counts.task_counts import NO_COUNTS
from drivetrain.worker.pauses import Pause
from drivetrain.worker.status import RunningTask, WaitingTask, WorkerStatus
from drivetrain.worker.stop_requests import StopRequest

__all__ = [
    "Overview",
    "Rates",
    "overview_document",
    "pause_document",
    "rates",
    "read_overview",
    "running_document",
    "running_of",
    "waiting_document",
    "waiting_of",
    "worker_document",
]


@frozen
class Overview:
    """Queues and workers at one moment."""

    #: Unix seconds.
    at: float
    queues: Mapping[str, QueueSizes]
    workers: Sequence[WorkerStatus]
    #: The pauses of queues that are paused.
    paused: Mapping[str, Pause] = field(factory=dict)
    #: Whether workers can report. Without a backend that stores anything it is not known which of them live.
    knows_workers: bool = True

    def served(self, queue: str) -> bool | None:
        """Whether a worker receives from this queue; None: that is not known."""
        if not self.knows_workers:
            return None
        return any(queue in worker.queues and not worker.stopping for worker in self.workers)


@frozen
class Rates:
    """How many runs have ended in a second, since an earlier overview; None: there is no earlier one."""

    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None


def read_overview(app: App, names: Sequence[str] | None = None) -> Overview:
    """The queues of these ``names``, and the workers of ``app``, now; None: all queues that it and its broker know.

    Raises:
        ServiceError: a service could not be reached.
    """
    operations = app.operations
    queues = operations.sizes(names)
    return Overview(
        at=app.runtime.clock.now(),
        queues=queues,
        workers=operations.workers(),
        paused=operations.paused(list(queues)),
        knows_workers=app.runtime.backend.capabilities.stores,
    )


def rates(before: Overview | None, now: Overview) -> Rates:
    """The rates between two overviews. A new worker counts from its start; one that has ended does not count."""
    if before is None or now.at <= before.at:
        return Rates()
    earlier = {(one.name, one.started): one.total for one in before.workers}
    pairs = [(one.total, earlier.get((one.name, one.started), NO_COUNTS)) for one in now.workers]
    seconds = now.at - before.at
    return Rates(
        succeeded=sum(later.succeeded - first.succeeded for later, first in pairs) / seconds,
        failed=sum(later.failed - first.failed for later, first in pairs) / seconds,
        retried=sum(later.retried - first.retried for later, first in pairs) / seconds,
    )


def running_of(workers: Sequence[WorkerStatus]) -> Iterator[tuple[WorkerStatus, RunningTask]]:
    """The tasks that run, the longest first, each with its worker."""
    pairs = [(worker, task) for worker in workers for task in worker.running]
    yield from sorted(pairs, key=lambda pair: pair[1].began)


def waiting_of(workers: Sequence[WorkerStatus]) -> Iterator[tuple[WorkerStatus, WaitingTask]]:
    """The tasks that wait in a worker for a slot, the oldest first, each with its worker."""
    pairs = [(worker, task) for worker in workers for task in worker.waiting]
    yield from sorted(pairs, key=lambda pair: pair[1].received)


def waiting_document(task: WaitingTask) -> dict[str, Any]:
    """A task that waits in a worker, for JSON."""
    return {
        "id": task.task_id,
        "task": task.task,
        "attempt": task.attempt,
        "queue": task.queue,
        "received": timestamp(task.received),
        "waits_for": "batch" if task.collected else "slot",
    }


def overview_document(overview: Overview) -> dict[str, Any]:
    """The overview for JSON."""
    return {
        "at": timestamp(overview.at),
        "queues": [_queue_document(overview, name, sizes) for name, sizes in overview.queues.items()],
        "workers": [worker_document(worker) for worker in overview.workers],
    }


def running_document(task: RunningTask) -> dict[str, Any]:
    """A task that runs, for JSON."""
    return {
        "id": task.task_id,
        "task": task.task,
        "attempt": task.attempt,
        "queue": task.queue,
        "began": timestamp(task.began),
        "batch": task.batch or None,
    }


def pause_document(pause: Pause) -> dict[str, Any]:
    """A pause for JSON."""
    return {"since": timestamp(pause.since), "why": pause.why or None, "by": pause.by or None}


def _stop_request_document(request: StopRequest) -> dict[str, object]:
    """A request to stop a worker, for JSON."""
    return {"since": timestamp(request.since), "by": request.by or None, "why": request.why or None}


def worker_document(worker: WorkerStatus) -> dict[str, Any]:
    """A worker for JSON."""
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "queues": worker.queues,
        "slots": worker.slots,
        "started": timestamp(worker.started),
        "reported": timestamp(worker.reported),
        "stopping": worker.stopping,
        "stop_request": None if worker.stop_request is None else _stop_request_document(worker.stop_request),
        "replaced_children": worker.replaced_children,
        "blocked": worker.blocked or None,
        "scale": None if worker.scale is None else to_builtins(worker.scale),
        "running_count": worker.running_count,
        "waiting_count": worker.waiting_count,
        "running": [running_document(one) for one in worker.running],
        "waiting": [waiting_document(one) for one in worker.waiting],
        "ended": [
            {
                "id": one.task_id,
                "task": one.task,
                "attempt": one.attempt,
                "state": one.state,
                "ended": timestamp(one.ended),
                "run_seconds": one.run_seconds,
            }
            for one in worker.ended
        ],
        "total": counts_document(worker.total),
        "counts": {name: counts_document(one) for name, one in worker.counts.items()},
    }


def _queue_document(overview: Overview, name: str, sizes: QueueSizes) -> dict[str, Any]:
    return {
        "queue": name,
        "ready": sizes.ready,
        "delayed": sizes.delayed,
        "in_flight": sizes.in_flight,
        "dead": sizes.dead,
        "oldest_seconds": sizes.oldest_seconds,
        "served": overview.served(name),
        "paused": None if (pause := overview.paused.get(name)) is None else pause_document(pause),
    }
