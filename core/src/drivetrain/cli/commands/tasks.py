"""``drivetrain tasks``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from drivetrain.app.finding import FoundPage, FoundTask
from drivetrain.app.search_words import filter_of
from drivetrain.app.task_search import LARGEST_PAGE
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.message_rows import limit_document
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp

__all__ = ["tasks"]


_WORDS = """\b
state:failed,retrying   waiting, running, retrying, succeeded, failed,
                        cancelled, expired, unfinished, ended
task:mails.*            the name of the task; * stands for any text
queue:mails worker:web* its queue; the worker that started it last
workflow:ID id:ID       the tasks of a workflow; one task
since:2h                its state has changed since then (90s, 30m, 7d,
                        2026-11-30T12:00)
any other words         a part of the id, the name, or the failure
"""


@click.command(epilog=_WORDS)
@click.argument("query", nargs=-1)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, LARGEST_PAGE),
    help="The largest number of tasks on the page.",
)
@click.option("--cursor", metavar="TEXT", help="Show the next page: what the page before printed.")
@json_option
@app_options
@click.pass_context
def tasks(ctx: click.Context, query: tuple[str, ...], limit: int, cursor: str | None, as_json: bool) -> None:
    """Find tasks by search words; without any, all tasks that can be listed.

    How far tasks can be listed depends on the backend; `drivetrain describe` says how far. Standard error says what was
    not searched. The search words are:
    """
    with options_of(ctx).open_app() as app:
        where = filter_of(query, datetime.fromtimestamp(app.runtime.clock.now(), UTC))
        page = app.operations.find(where, limit=limit, cursor=cursor)
        if as_json:
            echo_json(_document(page))
            return
        _echo_page(page)


def _echo_page(page: FoundPage) -> None:
    if page.tasks:
        # One column for both: of a task that waits, the failure of an earlier attempt matters less than its limit.
        last = "FAILURE, OR LIMIT" if any(task.limit for task in page.tasks) else "FAILURE"
        headers = ("TASK ID", "STATE", "TASK", "QUEUE", "ATTEMPT", "CHANGED", "WORKER", last)
        echo_table(headers, [_row(task) for task in page.tasks])
    elif page.cursor is None:
        click.echo("No task matches.")
    else:
        click.echo("No task on this page matches.")
    for notice in page.reach.notices:
        click.echo(notice, err=True)
    if page.cursor is not None:
        click.echo(f"There may be more: repeat the command with --cursor {page.cursor}", err=True)


def _row(task: FoundTask) -> tuple[object, ...]:
    changed = timestamp(task.changed) if task.changed else None
    return (
        task.task_id,
        task.state,
        task.task,
        task.queue,
        task.attempt,
        changed,
        task.worker,
        str(task.limit) if task.limit else task.failure,
    )


def _document(page: FoundPage) -> dict[str, object]:
    return {
        "tasks": [
            {
                "task_id": task.task_id,
                "state": task.state,
                "task": task.task,
                "queue": task.queue,
                "workflow": task.workflow,
                "parent": task.parent,
                "attempt": task.attempt,
                "worker": task.worker,
                "sent": timestamp(task.sent),
                "changed": timestamp(task.changed),
                "failure": task.failure,
                "limit": limit_document(task.limit),
            }
            for task in page.tasks
        ],
        "cursor": page.cursor,
        "searched": {
            "states": sorted(page.reach.states),
            "sources": page.reach.sources,
            "notices": page.reach.notices,
        },
    }
