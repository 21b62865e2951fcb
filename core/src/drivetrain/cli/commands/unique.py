"""``drivetrain unique``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp

__all__ = ["holders", "unique"]


@click.group()
@app_options
def unique() -> None:
    """Show unique tasks and their keys."""


@unique.command()
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many to list.")
@json_option
@app_options
@click.pass_context
def holders(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the unique keys that are held, each with the task that holds it.

    To free a key, cancel its task: `drivetrain cancel ID`.
    """
    with options_of(ctx).open_app() as app:
        found = app.limits.unique_holders(limit=limit)
        if as_json:
            documents = [
                {
                    "task": one.task,
                    "key": one.key,
                    "task_id": one.task_id,
                    "since": timestamp(one.since),
                    "until": one.until,
                    "seconds": one.seconds,
                    "state": one.state,
                }
                for one in found
            ]
            echo_json({"holders": documents})
        elif not found:
            click.echo("No unique key is held.")
        else:
            rows = [
                [one.task, one.key, one.task_id, one.state or "", timestamp(datetime.fromtimestamp(one.since, UTC))]
                for one in found
            ]
            echo_table(["task", "key", "held by", "state", "since"], rows)
