"""The tables of an overview, as headers and rows of cells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from drivetrain.cli.output import seconds_text, timestamp
from drivetrain.cli.overview import Overview, running_of
from drivetrain.contract import QueueSizes
from drivetrain.worker.pauses import Pause
from drivetrain.worker.status import WorkerStatus

__all__ = ["Table", "oldest_text", "pause_text", "queue_table", "running_table", "worker_table"]

#: The headers of a table, and its rows.
Table = tuple[Sequence[str], Sequence[Sequence[object]]]


def queue_table(overview: Overview) -> Table:
    """A row for each queue. Empty cells in the last columns: a worker serves the queue, and it is not paused."""
    rows = [
        (
            name,
            sizes.ready,
            sizes.delayed,
            sizes.in_flight,
            sizes.dead,
            oldest_text(sizes),
            *_state(overview, name),
        )
        for name, sizes in overview.queues.items()
    ]
    return ("QUEUE", "READY", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST", "SERVED BY", "PAUSED"), rows


def worker_table(workers: Sequence[WorkerStatus]) -> Table:
    """A row for each worker."""
    headers = (
        "WORKER", "STATE", "QUEUES", "SLOTS", "RUNNING", "WAITING", "SUCCEEDED", "FAILED", "RETRIED", "LEASE LOST",
        "WAITED p50", "WAITED p95", "STARTED", "VERSION",
    )  # fmt: skip
    return headers, [_worker_row(worker) for worker in workers]


def running_table(workers: Sequence[WorkerStatus], now: float, limit: int) -> Table:
    """A row for each of the ``limit`` tasks that run longest."""
    rows = [
        (task.task, task.task_id, task.attempt, task.queue, worker.name, f"{max(0.0, now - task.began):.1f}")
        for worker, task in running_of(workers)
    ]
    return ("RUNNING TASK", "ID", "ATTEMPT", "QUEUE", "WORKER", "SECONDS"), rows[:limit]


def _state(overview: Overview, queue: str) -> tuple[str, str]:
    pause = overview.paused.get(queue)
    served = {True: "", False: "no worker", None: "unknown"}[overview.served(queue)]
    return served, "" if pause is None else pause_text(pause)


def oldest_text(sizes: QueueSizes) -> str:
    """How long the oldest ready message has been ready: ``0:02:10``. Empty where none is ready, or it is not known."""
    return (
        str(timedelta(seconds=round(sizes.oldest_seconds))) if sizes.ready and sizes.oldest_seconds is not None else ""
    )


def pause_text(pause: Pause) -> str:
    """A pause in a few words."""
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.why}" if pause.why else ""
    return f"since {timestamp(pause.since)}{by}{why}"


def _state_of(worker: WorkerStatus) -> str:
    if worker.stopping:
        request = worker.stop_request
        return "stopping" if request is None else f"stopping: {request}"
    state = "blocked" if worker.blocked else "working"
    scale = worker.scale
    return state if scale is None else f"{state}, {scale.processes} of {scale.least} to {scale.most} processes"


def _worker_row(worker: WorkerStatus) -> tuple[object, ...]:
    total = worker.total
    return (
        worker.name,
        _state_of(worker),
        ", ".join(worker.queues),
        ", ".join(f"{count} {pool}" for pool, count in worker.slots.items()),
        worker.running_count,
        worker.waiting_count,
        total.succeeded,
        total.failed,
        total.retried,
        total.lease_lost,
        seconds_text(total.waiting.quantile(0.5)),
        seconds_text(total.waiting.quantile(0.95)),
        timestamp(worker.started),
        worker.version,
    )
