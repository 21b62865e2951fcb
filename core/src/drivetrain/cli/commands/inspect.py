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
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.overview import pause_document
from drivetrain.cli.overview_tables import pause_text
from drivetrain.contract import QueueSection, QueueSizes
from drivetrain.worker.pauses import Pause

__all__ = ["inspect"]


@frozen
class _Queue:
    name: str
    sizes: QueueSizes
    tasks: dict[QueueSection, list[QueuedTask]]
    pause: Pause | None


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

    Without QUEUE: all queues that the broker and the app know.
    """
    with options_of(ctx).open_app() as app:
        sizes = app.operations.sizes(queues or None)
        paused = app.operations.paused(list(sizes))
        read = [_read(app, name, sizes[name], limit, paused.get(name)) for name in sizes]
        if as_json:
            echo_json({"queues": [_document(app, queue, with_args=with_args) for queue in read]})
        else:
            _show(app, read, with_args=with_args)


def _read(app: App, name: str, sizes: QueueSizes, limit: int, pause: Pause | None) -> _Queue:
    sees_all = app.runtime.broker.capabilities.peeks
    sections = [section for section in QueueSection if sees_all or section is QueueSection.DEAD] if limit else []
    tasks = {section: app.operations.tasks(name, section, limit=limit) for section in sections}
    return _Queue(name, sizes, tasks, pause)


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
        "paused": None if queue.pause is None else pause_document(queue.pause),
        "tasks": tasks,
    }


def _show(app: App, read: Sequence[_Queue], *, with_args: bool) -> None:
    echo_table(
        ("QUEUE", "READY", "DELAYED", "IN FLIGHT", "DEAD", "PAUSED"),
        [
            (
                one.name,
                one.sizes.ready,
                one.sizes.delayed,
                one.sizes.in_flight,
                one.sizes.dead,
                "" if one.pause is None else pause_text(one.pause),
            )
            for one in read
        ],
    )
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


def _more(queue: _Queue) -> Iterator[str]:
    for section, tasks in queue.tasks.items():
        size = getattr(queue.sizes, section.value) or 0
        if tasks and size > len(tasks):
            yield f"… and {size - len(tasks)} more {section.value} in {queue.name} (--limit shows more)"
