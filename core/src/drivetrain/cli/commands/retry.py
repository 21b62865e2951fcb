"""``drivetrain retry``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from drivetrain.app.bulk.outcomes import TaskOutcome, Verdict
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option

__all__ = ["retry"]


@click.command()
@click.argument("task_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--why", default="", help="The reason, for the history.")
@json_option
@app_options
@click.pass_context
def retry(ctx: click.Context, task_ids: tuple[str, ...], why: str, as_json: bool) -> None:
    """Run tasks again that failed, expired or were cancelled: each as a new attempt, with all that waited for it.

    For many tasks use `drivetrain bulk retry`.

    Exit code: 0 all run again, 1 some need no retry, or cannot be retried.
    """
    with options_of(ctx).open_app() as app:
        outcomes = app.operations.retry(*task_ids, by=operator_name(), why=why)
    if as_json:
        echo_json({"tasks": [_document(outcome) for outcome in outcomes]})
    else:
        echo_table(("ID", "RETRY", "REASON"), [(one.task_id, one.verdict.value, one.reason) for one in outcomes])
    ctx.exit(_exit_code(outcomes))


def _document(outcome: TaskOutcome) -> dict[str, str | None]:
    return {"id": outcome.task_id, "verdict": outcome.verdict.value, "reason": outcome.reason or None}


def _exit_code(outcomes: Sequence[TaskOutcome]) -> Exit:
    return Exit.OK if all(one.verdict is Verdict.DONE for one in outcomes) else Exit.FAILED
