"""``drivetrain bulk``: acting on many tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, Unpack

import click

from drivetrain.app.application import App
from drivetrain.app.bulk.operation import Operation
from drivetrain.app.bulk.operation_record import Action, AuditEntry
from drivetrain.app.bulk.selections import Count
from drivetrain.app.finding import TaskFilter
from drivetrain.app.search_words import filter_of
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.commands.dead import LetterFilter, count_letters, letter_filter_options, letters_where
from drivetrain.cli.operation_view import (
    AUDIT_HEADERS,
    OPERATION_HEADERS,
    audit_row,
    operation_document,
    operation_exit,
    operation_row,
    run_shown,
    show_operation,
)
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp
from drivetrain.cli.prompts import confirm, not_found, yes_option

__all__ = [
    "bulk",
    "cancel",
    "drop",
    "history",
    "list_operations",
    "replay",
    "retry",
    "run_now",
    "show",
    "stop",
]

C = TypeVar("C", bound=Callable[..., Any])

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--dry-run", is_flag=True, help="Change nothing; show what would be chosen."),
    yes_option,
    click.option("--detach", is_flag=True, help="Do not wait: a worker does it. `bulk show ID` tells how far it is."),
    click.option("--why", default="", help="The reason, shown to other operators."),
    json_option,
    app_options,
)


_VERBS = {
    Action.CANCEL: "Cancel",
    Action.RETRY: "Retry",
    Action.RUN_NOW: "Run now",
    Action.REPLAY: "Replay",
    Action.DROP: "Delete",
}


def _action_options(command: C) -> C:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def bulk() -> None:
    """Act on many tasks: cancel, retry, run now; replay or drop dead letters.

    Each action is an operation with an id. It runs here, with a progress bar, or in a worker (--detach). If this
    process dies, a worker goes on. Ctrl-C stops the operation; what it has done stays.

    Exit code: 0 done, 1 some tasks failed, or the operation was stopped.
    """


@bulk.command()
@click.argument("query", nargs=-1, required=True, metavar="QUERY...")
@_action_options
@click.pass_context
def cancel(ctx: click.Context, /, *, query: tuple[str, ...], **chosen: Any) -> None:
    """Cancel tasks that have not ended, and all that waits for them.

    QUERY: ids of tasks; - for ids on the standard input; or search words as in `drivetrain tasks`.
    """
    _act(ctx, query, Action.CANCEL, **chosen)


@bulk.command()
@click.argument("query", nargs=-1, required=True, metavar="QUERY...")
@_action_options
@click.pass_context
def retry(ctx: click.Context, /, *, query: tuple[str, ...], **chosen: Any) -> None:
    """Run tasks again that failed, expired or were cancelled, with all that waited for them.

    QUERY: ids of tasks; - for ids on the standard input; or search words as in `drivetrain tasks`.
    """
    _act(ctx, query, Action.RETRY, **chosen)


@bulk.command("run-now")
@click.argument("query", nargs=-1, required=True, metavar="QUERY...")
@_action_options
@click.pass_context
def run_now(ctx: click.Context, /, *, query: tuple[str, ...], **chosen: Any) -> None:
    """Make delayed tasks, and tasks that wait for their next attempt, due now.

    QUERY: ids of tasks; - for ids on the standard input; or search words as in `drivetrain tasks`.
    """
    _act(ctx, query, Action.RUN_NOW, **chosen)


@bulk.command()
@click.argument("queue")
@letter_filter_options
@_action_options
@click.pass_context
def replay(ctx: click.Context, /, *, queue: str, **chosen: Any) -> None:
    """Run dead letters of QUEUE again, as if they were sent now: all, or those that the options choose."""
    _act_on_letters(ctx, queue, Action.REPLAY, **chosen)


@bulk.command()
@click.argument("queue")
@letter_filter_options
@_action_options
@click.pass_context
def drop(ctx: click.Context, /, *, queue: str, **chosen: Any) -> None:
    """Delete dead letters of QUEUE: all, or those that the options choose."""
    _act_on_letters(ctx, queue, Action.DROP, **chosen)


@bulk.command("list")
@json_option
@app_options
@click.pass_context
def list_operations(ctx: click.Context, as_json: bool) -> None:
    """List the operations that run, and those that ended within a day."""
    with options_of(ctx).open_app() as app:
        records = app.operations.bulk.recent()
    if as_json:
        echo_json({"operations": [operation_document(record) for record in records]})
    elif records:
        echo_table(OPERATION_HEADERS, [operation_row(record) for record in records])
    else:
        click.echo("no operations")


@bulk.command()
@click.argument("operation_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@json_option
@app_options
@click.pass_context
def show(ctx: click.Context, operation_id: str, wait: bool, as_json: bool) -> None:
    """Show an operation: its progress, and the first tasks on which it did not act.

    Exit code: 0 done or not ended, 1 some tasks failed, or it was stopped, 3 unknown.
    """
    with options_of(ctx).open_app() as app:
        operation = app.operations.bulk.get(operation_id)
        if wait:
            operation.wait()
        record = operation.record()
    if as_json:
        echo_json(operation_document(record))
    else:
        show_operation(record)
    if record.state.ended:
        ctx.exit(operation_exit(record))


@bulk.command()
@click.argument("operation_id", metavar="ID")
@app_options
@click.pass_context
def stop(ctx: click.Context, operation_id: str) -> None:
    """Stop an operation. What it has done stays."""
    with options_of(ctx).open_app() as app:
        if app.operations.bulk.get(operation_id).stop(by=operator_name()):
            click.echo(f"Stopping {operation_id}.")
        else:
            click.echo(f"{operation_id} had ended before.")


@bulk.command()
@json_option
@app_options
@click.pass_context
def history(ctx: click.Context, as_json: bool) -> None:
    """Show who did what with how many tasks in the last 90 days."""
    with options_of(ctx).open_app() as app:
        entries = app.operations.bulk.audit()
    if as_json:
        echo_json({"history": [_audit_document(entry) for entry in entries]})
    elif entries:
        echo_table(AUDIT_HEADERS, [audit_row(entry) for entry in entries])
    else:
        click.echo("nothing was done in the last 90 days")


def _audit_document(entry: AuditEntry) -> dict[str, Any]:
    return {
        "operation": entry.operation,
        "at": timestamp(entry.at),
        "by": entry.by or None,
        "action": entry.action,
        "selection": entry.selection,
        "why": entry.why or None,
        "state": entry.state,
        "done": entry.done,
        "skipped": entry.skipped,
        "failed": entry.failed,
    }


def _act(
    ctx: click.Context,
    query: tuple[str, ...],
    action: Action,
    *,
    dry_run: bool,
    yes: bool,
    detach: bool,
    why: str,
    as_json: bool,
) -> None:
    with options_of(ctx).open_app() as app:
        bulk_of = app.operations.bulk
        begin = {Action.CANCEL: bulk_of.cancel, Action.RETRY: bulk_of.retry, Action.RUN_NOW: bulk_of.run_now}[action]
        ids, where = _chosen(query, app)
        count = Count(len(ids)) if where is None else bulk_of.count(action, where)
        for notice in count.notices:
            click.echo(notice, err=True)
        if count.number == 0:
            not_found(ctx, "no task matches" if count.exact else "no task that can be found matches")
        counted = f"{'' if count.exact else 'at least '}{count.number} task{'' if count.number == 1 else 's'}"
        if _shown_or_confirmed(f"{_VERBS[action]} {counted}", dry_run=dry_run, yes=yes, as_json=as_json):
            _finish(ctx, begin(*ids, where=where, by=operator_name(), why=why), detach, as_json)


def _act_on_letters(
    ctx: click.Context,
    queue: str,
    action: Action,
    *,
    dry_run: bool,
    yes: bool,
    detach: bool,
    why: str,
    as_json: bool,
    **chosen: Unpack[LetterFilter],
) -> None:
    with options_of(ctx).open_app() as app:
        bulk_of = app.operations.bulk
        begin = {Action.REPLAY: bulk_of.replay, Action.DROP: bulk_of.drop}[action]
        where = letters_where(ctx, app, queue, chosen)
        counted = _letters(count_letters(app, queue, where), queue)
        if _shown_or_confirmed(f"{_VERBS[action]} {counted}", dry_run=dry_run, yes=yes, as_json=as_json):
            _finish(ctx, begin(queue, where, by=operator_name(), why=why), detach, as_json)


def _chosen(query: tuple[str, ...], app: App) -> tuple[list[str], TaskFilter | None]:
    """The ids, or the filter, that the words of a query mean: a filter if any of them has a colon."""
    if any(":" in word for word in query):
        return [], filter_of(query, datetime.fromtimestamp(app.runtime.clock.now(), UTC))
    return _ids(query), None


def _ids(query: tuple[str, ...]) -> list[str]:
    given = [one for word in query for one in (sys.stdin.read().split() if word == "-" else [word])]
    if not given:
        raise click.UsageError("the standard input names no task")
    return list(dict.fromkeys(given))


def _letters(count: int | None, queue: str) -> str:
    if count is None:
        return f"all dead letters of {queue!r}"
    return f"{count} dead letter{'' if count == 1 else 's'} of {queue!r}"


def _shown_or_confirmed(what: str, *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Whether to go on: not in a dry run, which shows ``what``."""
    if not dry_run:
        confirm(f"{what}?", yes=yes)
    elif as_json:
        echo_json({"dry_run": what})
    else:
        click.echo(f"would: {what[0].lower()}{what[1:]}")
    return not dry_run


def _finish(ctx: click.Context, operation: Operation, detach: bool, as_json: bool) -> None:
    record = operation.record() if detach else run_shown(operation, quiet=as_json)
    if as_json:
        echo_json(operation_document(record))
    elif detach:
        click.echo(f"operation {record.id} waits for a worker; `drivetrain bulk show {record.id}` tells how far it is")
    else:
        show_operation(record)
    if not detach:
        ctx.exit(operation_exit(record))
