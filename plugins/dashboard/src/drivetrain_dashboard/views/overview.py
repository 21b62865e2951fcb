"""The first page: queues, workers, what became of tasks, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from drivetrain.app.shown_schedules import Schedule
from drivetrain.worker.status import WorkerStatus
from drivetrain_dashboard.views.attention import Attention, attention
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.counts import Counted, Series, by_task, read_hour, read_two_days
from drivetrain_dashboard.views.page import Page, Query
from drivetrain_dashboard.views.queues import QueueRow, queue_rows

__all__ = ["OverviewPage", "OverviewQuery", "RunningRow", "WorkerTotals", "read_overview", "running_rows"]

#: How many of the tasks that run longest are shown, and how many names of tasks.
_MOST_RUNNING, _MOST_TASKS = 10, 20


class OverviewQuery(Query, frozen=True, kw_only=True):
    """The first page has no parameters."""


class RunningRow(Struct, frozen=True, kw_only=True):
    """A task that runs.

    Attributes:
        task_id: the id of the task.
        task: its name.
        queue: the queue of its message.
        attempt: the attempt; the first is 0.
        worker: the worker that runs it.
        began: when its function began, in Unix seconds.
    """

    task_id: str
    task: str
    queue: str
    attempt: int
    worker: str
    began: float


class WorkerTotals(Struct, frozen=True, kw_only=True):
    """All workers, added up.

    Attributes:
        alive: how many live.
        stopping: how many of them stop.
        blocked: how many of them are blocked.
        slots: how many tasks they can run at once.
        running: how many tasks run.
        waiting: how many tasks wait in a worker for a slot.
    """

    alive: int = 0
    stopping: int = 0
    blocked: int = 0
    slots: int = 0
    running: int = 0
    waiting: int = 0


class OverviewPage(Page, frozen=True, kw_only=True):
    """The first page.

    Attributes:
        app: the name of the app.
        attention: what needs attention, the urgent first; empty: nothing does.
        queues: all queues, by name.
        workers: all workers, added up; None: unknown, because the backend stores nothing.
        hour: the counts of the last hour, by minute.
        two_days: the counts of the last two days, by half hours.
        tasks: what became of the tasks of each name in the last hour, those that failed most first.
        more_tasks: how many further names of tasks there are.
        running: the tasks that run longest.
    """

    app: str
    attention: tuple[Attention, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    workers: WorkerTotals | None = None
    hour: Series = Series()
    two_days: Series = Series()
    tasks: tuple[Counted, ...] = ()
    more_tasks: int = 0
    running: tuple[RunningRow, ...] = ()


def read_overview(context: ReadContext, query: OverviewQuery) -> OverviewPage:  # noqa: ARG001 - as every reader
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    now, workers = context.now(), context.operations.workers()
    context.trends.note_workers(now, workers)
    queues = queue_rows(context, workers=workers)
    hour, counts = read_hour(context)
    tasks = by_task(counts)
    schedules: Sequence[Schedule] = context.app.schedules.list(next=1) if context.stores else ()
    found = attention(
        now=now, queues=queues, workers=workers, gone=context.trends.gone(), tasks=tasks, schedules=schedules
    )
    return OverviewPage(
        at=now,
        app=context.app.settings.name,
        attention=found,
        queues=queues,
        workers=_totals(workers) if context.stores else None,
        hour=hour,
        two_days=read_two_days(context),
        tasks=tasks[:_MOST_TASKS],
        more_tasks=max(0, len(tasks) - _MOST_TASKS),
        running=running_rows(workers)[:_MOST_RUNNING],
        notices=() if context.stores else ("The backend stores nothing: workers and counts are not known.",),
    )


def running_rows(workers: Sequence[WorkerStatus]) -> tuple[RunningRow, ...]:
    """The tasks that run, as far as workers name them; the longest first."""
    rows = [
        RunningRow(
            task_id=task.task_id,
            task=task.task,
            queue=task.queue,
            attempt=task.attempt,
            worker=worker.name,
            began=task.began,
        )
        for worker in workers
        for task in worker.running
    ]
    return tuple(sorted(rows, key=lambda row: row.began))


def _totals(workers: Sequence[WorkerStatus]) -> WorkerTotals:
    return WorkerTotals(
        alive=len(workers),
        stopping=sum(one.stopping for one in workers),
        blocked=sum(bool(one.blocked) for one in workers),
        slots=sum(sum(one.slots.values()) for one in workers),
        running=sum(one.running_count for one in workers),
        waiting=sum(one.waiting_count for one in workers),
    )
