"""``drivetrain dead``: the dead letters of a queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

import click

from drivetrain.app.application import App
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.message_rows import HEADERS, queued_document, queued_row
from drivetrain.cli.moments import moment
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.prompts import check_queue, confirm, not_found, yes_option

__all__ = [
    "LetterFilter",
    "count_letters",
    "dead",
    "drop",
    "letter_filter_options",
    "letters_where",
    "list_letters",
    "replay",
]

C = TypeVar("C", bound=Callable[..., Any])

#: More dead letters than any queue has.
_ALL = 10**9


class LetterFilter(TypedDict):
    """The values of the options in `letter_filter_options`."""

    task_ids: tuple[str, ...]
    tasks: tuple[str, ...]
    reason: str
    died_before: datetime | None
    died_after: datetime | None


_FILTER_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--id", "task_ids", multiple=True, metavar="ID", help="Only this task; may be repeated."),
    click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only tasks of this name; may be repeated."),
    click.option("--reason", default="", metavar="TEXT", help="Only those whose reason holds this text."),
    click.option(
        "--older-than", "died_before", metavar="TIME", callback=moment, help="Dead-lettered before: 7d, 12h or a date."
    ),
    click.option(
        "--newer-than", "died_after", metavar="TIME", callback=moment, help="Dead-lettered since: 7d, 12h or a date."
    ),
)


def letter_filter_options(command: C) -> C:
    """Add the options that choose dead letters."""
    for option in reversed(_FILTER_OPTIONS):
        command = option(command)
    return command


@click.group()
def dead() -> None:
    """List, replay or drop dead letters: tasks that were unreadable, unknown, or crashed their workers."""


@dead.command("list")
@click.argument("queue")
@letter_filter_options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many to list.")
@click.option("--args", "with_args", is_flag=True, help="Show the arguments of tasks, which may hold secrets.")
@json_option
@app_options
@click.pass_context
def list_letters(
    ctx: click.Context, /, *, queue: str, limit: int, with_args: bool, as_json: bool, **chosen: Unpack[LetterFilter]
) -> None:
    """List the dead letters of QUEUE, oldest first, each with the reason."""
    with options_of(ctx).open_app() as app:
        where = letters_where(ctx, app, queue, chosen)
        letters = app.operations.dead_letters(queue, where, limit=limit)
        if as_json:
            shown = [queued_document(app, letter, with_args=with_args) for letter in letters]
            echo_json({"queue": queue, "dead": shown})
        elif letters:
            echo_table(HEADERS, [queued_row(app, letter, with_args=with_args) for letter in letters])
        else:
            click.echo(f"no dead letters in {queue}" if where is None else f"no such dead letters in {queue}")


@dead.command()
@click.argument("queue")
@letter_filter_options
@json_option
@app_options
@click.pass_context
def replay(ctx: click.Context, /, *, queue: str, as_json: bool, **chosen: Unpack[LetterFilter]) -> None:
    """Run dead letters of QUEUE again, as if they were sent now: all, or those that the options choose."""
    with options_of(ctx).open_app() as app:
        replayed = app.operations.replay(queue, letters_where(ctx, app, queue, chosen))
    if as_json:
        echo_json({"queue": queue, "replayed": replayed})
    else:
        click.echo(f"{replayed} replayed to {queue}")


@dead.command()
@click.argument("queue")
@letter_filter_options
@yes_option
@json_option
@app_options
@click.pass_context
def drop(ctx: click.Context, /, *, queue: str, yes: bool, as_json: bool, **chosen: Unpack[LetterFilter]) -> None:
    """Delete dead letters of QUEUE: all, or those that the options choose."""
    with options_of(ctx).open_app() as app:
        where = letters_where(ctx, app, queue, chosen)
        there = count_letters(app, queue, where)
        if there == 0:
            dropped = 0
        else:
            confirm(f"Delete {_counted(there)} of {queue!r}?", yes=yes)
            dropped = app.operations.drop_dead_letters(queue, where)
    if as_json:
        echo_json({"queue": queue, "dropped": dropped})
    else:
        click.echo(f"{dropped} dropped from the dead letters of {queue}")


def letters_where(ctx: click.Context, app: App, queue: str, chosen: LetterFilter) -> DeadLetterFilter | None:
    """The chosen dead letters; None: all. Ends the command if a queue or a letter does not exist."""
    check_queue(ctx, app, queue)
    if not any(chosen.values()):
        return None
    if ids := frozenset(chosen["task_ids"]):
        there = app.operations.dead_letters(queue, DeadLetterFilter(task_ids=ids), limit=_ALL)
        if missing := sorted(ids - {letter.task_id for letter in there}):
            not_found(ctx, f"not among the dead letters of {queue}: {', '.join(missing)}")
    return DeadLetterFilter(**chosen)


def count_letters(app: App, queue: str, where: DeadLetterFilter | None) -> int | None:
    """How many dead letters are chosen; None: the broker cannot tell."""
    if where is None:
        return app.operations.sizes([queue])[queue].dead
    return len(app.operations.dead_letters(queue, where, limit=_ALL))


def _counted(number: int | None) -> str:
    return "all dead letters" if number is None else f"{number} dead letter{'' if number == 1 else 's'}"
