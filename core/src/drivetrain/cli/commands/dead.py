"""``drivetrain dead``: the dead letters of a queue."""

from __future__ import annotations

import click

from drivetrain.app.application import App
from drivetrain.app.operations import QueuedTask
from drivetrain.cli.asking import check_queue, confirm, not_found, yes_option
from drivetrain.cli.choice import app_options, choice_of
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.queued import HEADERS, queued_document, queued_row

__all__ = ["dead", "drop", "list_letters", "replay"]

#: How many dead letters are looked through where the broker cannot tell how many there are.
_MANY = 10_000

_ids = click.option("--id", "task_ids", multiple=True, metavar="ID", help="Only this task; may be given again.")


@click.group()
def dead() -> None:
    """See to the tasks that were put aside: unreadable, unknown, or deadly to their workers."""


@dead.command("list")
@click.argument("queue")
@_ids
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many are listed.")
@click.option("--args", "with_args", is_flag=True, help="Show the arguments of tasks, which may hold secrets.")
@json_option
@app_options
@click.pass_context
def list_letters(
    ctx: click.Context, /, *, queue: str, task_ids: tuple[str, ...], limit: int, with_args: bool, as_json: bool
) -> None:
    """List the dead letters of QUEUE, oldest first, each with the reason."""
    with choice_of(ctx).open_app() as app:
        check_queue(ctx, app, queue)
        letters = _chosen(ctx, app, queue, task_ids) if task_ids else app.operations.dead_letters(queue, limit=limit)
        if as_json:
            shown = [queued_document(app, letter, with_args=with_args) for letter in letters]
            echo_json({"queue": queue, "dead": shown})
        elif letters:
            echo_table(HEADERS, [queued_row(app, letter, with_args=with_args) for letter in letters])
        else:
            click.echo(f"no dead letters in {queue}")


@dead.command()
@click.argument("queue")
@_ids
@json_option
@app_options
@click.pass_context
def replay(ctx: click.Context, queue: str, task_ids: tuple[str, ...], as_json: bool) -> None:
    """Let dead letters of QUEUE be run again, all of them or those of --id, as if they were sent now."""
    with choice_of(ctx).open_app() as app:
        check_queue(ctx, app, queue)
        if task_ids:
            _chosen(ctx, app, queue, task_ids)
        replayed = app.operations.replay(queue, list(task_ids) or None)
    if as_json:
        echo_json({"queue": queue, "replayed": replayed})
    else:
        click.echo(f"{replayed} replayed to {queue}")


@dead.command()
@click.argument("queue")
@yes_option
@json_option
@app_options
@click.pass_context
def drop(ctx: click.Context, queue: str, yes: bool, as_json: bool) -> None:
    """Drop all dead letters of QUEUE for good."""
    with choice_of(ctx).open_app() as app:
        check_queue(ctx, app, queue)
        there = app.operations.sizes([queue])[queue].dead
        confirm(f"Drop {'all' if there is None else there} dead letters of {queue!r} for good?", yes=yes)
        dropped = app.operations.drop_dead_letters(queue)
    if as_json:
        echo_json({"queue": queue, "dropped": dropped})
    else:
        click.echo(f"{dropped} dropped from the dead letters of {queue}")


def _chosen(ctx: click.Context, app: App, queue: str, task_ids: tuple[str, ...]) -> list[QueuedTask]:
    there = app.operations.sizes([queue])[queue].dead
    letters = app.operations.dead_letters(queue, limit=_MANY if there is None else max(there, 1))
    missing = sorted(set(task_ids) - {letter.task_id for letter in letters})
    if missing:
        not_found(ctx, f"not among the dead letters of {queue}: {', '.join(missing)}")
    return [letter for letter in letters if letter.task_id in task_ids]
