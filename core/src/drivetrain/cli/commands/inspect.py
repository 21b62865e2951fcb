"""``drivetrain inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from attrs import frozen

from drivetrain.app.application import App
from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.cli.app_options import app_options, choice_of
from drivetrain.cli.message_rows import HEADERS, queued_document, queued_row
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.contract import QueueSection, QueueSizes

__all__ = ["inspect"]


@frozen
class _Queue:
    name: str
    sizes: QueueSizes
    tasks: dict[QueueSection, list[QueuedTask]]


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=0), help="Tasks listed in each place.")
@click.option("--args", "with_args", is_flag=True, help="Show the arguments of tasks, which may hold secrets.")
@json_option
@app_options
@click.pass_context
def inspect(ctx: click.Context, queues: tuple[str, ...], limit: int, with_args: bool, as_json: bool) -> None:
    """Show queues: how many tasks are ready, delayed, held by workers and dead, and the first of them.

    Without QUEUE: all that the broker and the app know of.
    """
    with choice_of(ctx).open_app() as app:
        sizes = app.operations.sizes(queues or None)
        looked = [_look(app, name, sizes[name], limit) for name in sizes]
        if as_json:
            echo_json({"queues": [_document(app, queue, with_args=with_args) for queue in looked]})
        else:
            _show(app, looked, with_args=with_args)


def _look(app: App, name: str, sizes: QueueSizes, limit: int) -> _Queue:
    sees_all = app.runtime.broker.capabilities.peeks
    places = [place for place in QueueSection if sees_all or place is QueueSection.DEAD] if limit else []
    tasks = {place: app.operations.tasks(name, place, limit=limit) for place in places}
    return _Queue(name, sizes, tasks)


def _document(app: App, queue: _Queue, *, with_args: bool) -> dict[str, Any]:
    sizes = queue.sizes
    tasks = {
        place.value: [queued_document(app, task, with_args=with_args) for task in tasks]
        for place, tasks in queue.tasks.items()
    }
    return {
        "queue": queue.name,
        "ready": sizes.ready,
        "delayed": sizes.delayed,
        "held": sizes.held,
        "dead": sizes.dead,
        "tasks": tasks,
    }


def _show(app: App, looked: Sequence[_Queue], *, with_args: bool) -> None:
    echo_table(
        ("QUEUE", "READY", "DELAYED", "HELD", "DEAD"),
        [(one.name, one.sizes.ready, one.sizes.delayed, one.sizes.held, one.sizes.dead) for one in looked],
    )
    rows = [row for one in looked for row in _rows(app, one, with_args=with_args)]
    if rows:
        click.echo()
        echo_table(("QUEUE", "PLACE", *HEADERS), rows)
    for line in (line for one in looked for line in _more(one)):
        click.echo(line)


def _rows(app: App, queue: _Queue, *, with_args: bool) -> Iterator[tuple[object, ...]]:
    for place, tasks in queue.tasks.items():
        for task in tasks:
            yield queue.name, place.value, *queued_row(app, task, with_args=with_args)


def _more(queue: _Queue) -> Iterator[str]:
    for place, tasks in queue.tasks.items():
        there = getattr(queue.sizes, place.value) or 0
        if tasks and there > len(tasks):
            yield f"… and {there - len(tasks)} more {place.value} in {queue.name} (--limit shows more)"
