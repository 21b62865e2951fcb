"""The page of workers: what each serves, runs and has done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from drivetrain.contract import State
from drivetrain.worker.status import Scale, WorkerStatus
from drivetrain.worker.stop_requests import StopRequest
from drivetrain_dashboard.views.attention import SILENT_SECONDS
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.counts import Counted, counted
from drivetrain_dashboard.views.overview import RunningRow, running_rows
from drivetrain_dashboard.views.page import Page, Query

__all__ = ["EndedRow", "GoneRow", "WaitingRow", "WorkerRow", "WorkersPage", "WorkersQuery", "read_workers"]


class WorkersQuery(Query, frozen=True, kw_only=True):
    """The page of workers has no parameters."""


class WaitingRow(Struct, frozen=True, kw_only=True):
    """A task that waits in a worker for a slot.

    Attributes:
        task_id: the id of the task.
        task: its name.
        queue: the queue of its message.
        received: when the worker received it, in Unix seconds.
    """

    task_id: str
    task: str
    queue: str
    received: float


class EndedRow(Struct, frozen=True, kw_only=True):
    """A run that a worker has ended.

    Attributes:
        task_id: the id of the task.
        task: its name.
        attempt: the attempt; the first is 0.
        state: the state that was recorded.
        ended: when, in Unix seconds.
        run_seconds: how long its function ran.
    """

    task_id: str
    task: str
    attempt: int
    state: State
    ended: float
    run_seconds: float


class WorkerRow(Struct, frozen=True, kw_only=True):
    """A worker that lives.

    Attributes:
        name: its name.
        host: the name of its machine.
        pid: the id of its process.
        version: its version of drivetrain.
        state: ``working``, ``stopping``, ``blocked``, or ``silent``: it has not reported for seven seconds.
        queues: the queues that it serves, in order.
        slots: how many tasks it can run at once, by pool.
        started: when it started, in Unix seconds.
        reported: when it reported last, in Unix seconds.
        blocked: why it runs nothing more; empty: it is not blocked.
        stop_request: which operator stops it, when and why; None: none does.
        scale: how many processes its supervisor runs, and between which limits; None: their number is fixed.
        running: the tasks that run, the longest first; at most 50.
        running_count: how many tasks run.
        waiting: the tasks that wait for a slot, the oldest first; at most 50.
        waiting_count: how many tasks wait for a slot.
        ended: the runs that ended last, the latest first.
        total: what it has done since it started.
        tasks: the same, by the name of the task.
    """

    name: str
    host: str
    pid: int
    version: str
    state: Literal["working", "stopping", "blocked", "silent"]
    queues: tuple[str, ...]
    slots: Mapping[str, int] = field(default_factory=dict)
    started: float
    reported: float
    blocked: str = ""
    stop_request: StopRequest | None = None
    scale: Scale | None = None
    running: tuple[RunningRow, ...] = ()
    running_count: int = 0
    waiting: tuple[WaitingRow, ...] = ()
    waiting_count: int = 0
    ended: tuple[EndedRow, ...] = ()
    total: Counted = Counted()
    tasks: tuple[Counted, ...] = ()


class GoneRow(Struct, frozen=True, kw_only=True):
    """A worker that has died, as the dashboard has seen.

    Attributes:
        name: its name.
        host: the name of its machine.
        reported: when it reported last, in Unix seconds.
        running: how many tasks it ran then.
    """

    name: str
    host: str
    reported: float
    running: int


class WorkersPage(Page, frozen=True, kw_only=True):
    """The page of workers.

    Attributes:
        workers: the workers that live, by name.
        gone: those that have died while the dashboard was watched, the latest first.
        versions: the versions of drivetrain that they have; more than one: a deploy goes on, or has failed.
    """

    workers: tuple[WorkerRow, ...] = ()
    gone: tuple[GoneRow, ...] = ()
    versions: tuple[str, ...] = ()


def read_workers(context: ReadContext, query: WorkersQuery) -> WorkersPage:  # noqa: ARG001 - as every reader
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    now = context.now()
    if not context.stores:
        return WorkersPage(at=now, problem="The backend stores nothing, so workers cannot report to it.")
    workers = context.operations.workers()
    context.trends.note_workers(now, workers)
    return WorkersPage(
        at=now,
        workers=tuple(_row(one, now) for one in workers),
        gone=tuple(
            GoneRow(name=one.name, host=one.host, reported=one.reported, running=one.running)
            for one in context.trends.gone()
        ),
        versions=tuple(sorted({one.version for one in workers})),
    )


def _row(worker: WorkerStatus, now: float) -> WorkerRow:
    return WorkerRow(
        name=worker.name,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        state=_state(worker, now),
        queues=tuple(worker.queues),
        slots=dict(worker.slots),
        started=worker.started,
        reported=worker.reported,
        blocked=worker.blocked,
        stop_request=worker.stop_request,
        scale=worker.scale,
        running=running_rows([worker]),
        running_count=worker.running_count,
        waiting=tuple(
            WaitingRow(task_id=one.task_id, task=one.task, queue=one.queue, received=one.received)
            for one in worker.waiting
        ),
        waiting_count=worker.waiting_count,
        ended=tuple(
            EndedRow(
                task_id=one.task_id,
                task=one.task,
                attempt=one.attempt,
                state=one.state,
                ended=one.ended,
                run_seconds=one.run_seconds,
            )
            for one in worker.ended
        ),
        total=counted("", worker.total),
        tasks=tuple(counted(name, one) for name, one in sorted(worker.counts.items())),
    )


def _state(worker: WorkerStatus, now: float) -> Literal["working", "stopping", "blocked", "silent"]:
    if now - worker.reported >= SILENT_SECONDS:
        return "silent"
    if worker.stopping:
        return "stopping"
    return "blocked" if worker.blocked else "working"
