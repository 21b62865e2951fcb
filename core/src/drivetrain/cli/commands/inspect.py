"""``drivetrain inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from attrs import frozen

from drivetrain.app.application import App
from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.message_rows import HEADERS, queued_document, queued_row
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp
from drivetrain.cli.overview import (
    Overview,
    pause_document,
    read_overview,
    running_document,
    running_of,
    waiting_document,
    waiting_of,
)
from drivetrain.cli.overview_tables import oldest_text, pause_text
from drivetrain.cli.queue_notes import echo_notes, queue_notes
from drivetrain.contract import QueueSection, QueueSizes
from drivetrain.worker.pauses import Pause
from drivetrain.worker.status import RunningTask, WaitingTask, WorkerStatus

__all__ = ["inspect"]


@frozen
class _Queue:
    name: str
    sizes: QueueSizes
    tasks: dict[QueueSection, list[QueuedTask]]
    pause: Pause | None
    #: None: that is not known.
    served: bool | None
    #: The tasks that run, the longest first, each with its worker.
    running: Sequence[tuple[WorkerStatus, RunningTask]]
    #: The tasks that wait in a worker for a slot, the oldest first, each with its worker.
    waiting: Sequence[tuple[WorkerStatus, WaitingTask]]


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--limit", default=10, show_default=True, type=click.IntRange(min=0), help="How many tasks to list in each section."
)
@click.option("--args", "with_args", is_flag=True, help="Show the arguments of tasks, which may hold secrets.")
@json_option
@app_options
@click.pass_context
def inspect(ctx: click.Context, queues: tuple[str, ...], limit: int, with_args: bool, as_json: bool) -> None:
    """Show queues: the number of ready, delayed, in flight and dead tasks, and the first of them.

    OLDEST: for how long the oldest of the ready ones has been ready, where the broker can tell.

    Without QUEUE: all queues that the broker and the app know.
    """
    with options_of(ctx).open_app() as app:
        overview = read_overview(app, queues or None)
        read = [_read(app, overview, name, limit) for name in overview.queues]
        if as_json:
            echo_json({"queues": [_document(app, queue, with_args=with_args) for queue in read]})
        else:
            _show(app, read, with_args=with_args)
            echo_notes(queue_notes(overview))


def _read(app: App, overview: Overview, name: str, limit: int) -> _Queue:
    sees_all = app.runtime.broker.capabilities.peeks
    sections = [section for section in QueueSection if sees_all or section is QueueSection.DEAD] if limit else []
    return _Queue(
        name,
        overview.queues[name],
        {section: app.operations.tasks(name, section, limit=limit) for section in sections},
        overview.paused.get(name),
        overview.served(name),
        [pair for pair in running_of(overview.workers) if pair[1].queue == name][:limit],
        [pair for pair in waiting_of(overview.workers) if pair[1].queue == name][:limit],
    )


def _document(app: App, queue: _Queue, *, with_args: bool) -> dict[str, Any]:
    sizes = queue.sizes
    tasks = {
        section.value: [queued_document(app, task, with_args=with_args) for task in tasks]
        for section, tasks in queue.tasks.items()
    }
    return {
        "queue": queue.name,
        "ready": sizes.ready,
        "delayed": sizes.delayed,
        "in_flight": sizes.in_flight,
        "dead": sizes.dead,
        "oldest_seconds": sizes.oldest_seconds,
        "served": queue.served,
        "paused": None if queue.pause is None else pause_document(queue.pause),
        "tasks": tasks,
        "running": [{"worker": worker.name, **running_document(task)} for worker, task in queue.running],
        "waiting": [{"worker": worker.name, **waiting_document(task)} for worker, task in queue.waiting],
    }


def _show(app: App, read: Sequence[_Queue], *, with_args: bool) -> None:
    echo_table(
        ("QUEUE", "READY", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST", "PAUSED"),
        [
            (
                one.name,
                one.sizes.ready,
                one.sizes.delayed,
                one.sizes.in_flight,
                one.sizes.dead,
                oldest_text(one.sizes),
                "" if one.pause is None else pause_text(one.pause),
            )
            for one in read
        ],
    )
    running = [row for one in read for row in _running_rows(one)]
    if running:
        click.echo()
        echo_table(("QUEUE", "RUNNING", "TASK", "ATTEMPT", "WORKER", "SINCE", "BATCH"), running)
    waiting = [row for one in read for row in _waiting_rows(one)]
    if waiting:
        click.echo()
        echo_table(("QUEUE", "WAITS IN A WORKER", "TASK", "ATTEMPT", "WORKER", "SINCE", "FOR"), waiting)
    rows = [row for one in read for row in _rows(app, one, with_args=with_args)]
    if rows:
        click.echo()
        echo_table(("QUEUE", "SECTION", *HEADERS), rows)
    for line in (line for one in read for line in _more(one)):
        click.echo(line)


def _rows(app: App, queue: _Queue, *, with_args: bool) -> Iterator[tuple[object, ...]]:
    for section, tasks in queue.tasks.items():
        for task in tasks:
            yield queue.name, section.value, *queued_row(app, task, with_args=with_args)


def _running_rows(queue: _Queue) -> Iterator[tuple[object, ...]]:
    for worker, task in queue.running:
        yield queue.name, task.task_id, task.task, task.attempt, worker.name, timestamp(task.began), task.batch


def _waiting_rows(queue: _Queue) -> Iterator[tuple[object, ...]]:
    for worker, task in queue.waiting:
        waits_for = "its batch" if task.collected else "a slot"
        yield queue.name, task.task_id, task.task, task.attempt, worker.name, timestamp(task.received), waits_for


def _more(queue: _Queue) -> Iterator[str]:
    for section, tasks in queue.tasks.items():
        size = getattr(queue.sizes, section.value) or 0
        if tasks and size > len(tasks):
            yield f"… and {size - len(tasks)} more {section.value} in {queue.name} (--limit shows more)"
