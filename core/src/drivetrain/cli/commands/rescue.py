"""``drivetrain rescue``."""

from __future__ import annotations

from typing import Any

import click

from drivetrain.app.rescue import RescueReport
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp
from drivetrain.cli.prompts import not_found
from drivetrain.worker.rescue.searching import Found

__all__ = ["rescue_command"]


@click.command("rescue")
@click.option(
    "--older-than",
    "overdue_seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="For how long tasks must be due; by default the setting rescue_after_seconds.",
)
@click.option("--dry-run", is_flag=True, help="End nothing; show what would be ended.")
@click.option(
    "--end",
    "task_ids",
    multiple=True,
    metavar="ID",
    help="End only this task, whose message you know to be gone; may be repeated.",
)
@json_option
@app_options
@click.pass_context
def rescue_command(
    ctx: click.Context, *, overdue_seconds: float | None, dry_run: bool, task_ids: tuple[str, ...], as_json: bool
) -> None:
    """End tasks whose message is gone, and all that waits for them; they fail with ResultLost.

    Looks for the messages of overdue tasks several times, which takes minutes if any is missing. Tasks that are only
    slow are left alone, and not shown. Workers do the same by themselves.
    """
    if task_ids and (dry_run or overdue_seconds is not None):
        raise click.UsageError("--end goes without --dry-run and --older-than")
    with options_of(ctx).open_app() as app:
        if task_ids:
            report = app.operations.end_lost(*task_ids)
        else:
            report = app.operations.rescue(overdue_seconds=overdue_seconds, dry_run=dry_run)
    if as_json:
        echo_json(_document(report, dry_run=dry_run))
    else:
        _show(report, dry_run=dry_run, by_id=bool(task_ids))
    if missing := sorted(set(task_ids) - {found.overdue.record.task_id for found in report.tasks}):
        not_found(ctx, f"not known, ended already, or not due: {', '.join(missing)}")


def _document(report: RescueReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "tasks": [_task(found, dry_run=dry_run) for found in report.tasks],
        "more": report.more,
        "backlog": report.backlog or None,
    }


def _task(found: Found, *, dry_run: bool) -> dict[str, Any]:
    record = found.overdue.record
    return {
        "id": record.task_id,
        "task": record.task or None,
        "state": record.state,
        "attempt": record.attempt,
        "queue": found.overdue.queue or None,
        "due": timestamp(found.overdue.since),
        "done": _done(found, dry_run=dry_run) or None,
        "reason": found.reason or None,
    }


def _done(found: Found, *, dry_run: bool) -> str:
    return "would be ended" if dry_run and not found.reason else found.done


def _show(report: RescueReport, *, dry_run: bool, by_id: bool) -> None:
    if report.backlog:
        click.echo(f"not searched: {report.backlog}")
        return
    if not report.tasks:
        if not by_id:
            click.echo("no task is lost")
        return
    rows = [
        (
            found.overdue.record.task_id,
            found.overdue.record.task,
            found.overdue.record.state.value,
            found.overdue.record.attempt,
            found.overdue.queue,
            timestamp(found.overdue.since),
            _done(found, dry_run=dry_run) or "nothing",
            found.reason,
        )
        for found in report.tasks
    ]
    echo_table(("ID", "TASK", "STATE", "ATTEMPT", "QUEUE", "DUE", "DONE", "REASON"), rows)
    if report.more:
        click.echo(f"… and {report.more} more that are not certain")
