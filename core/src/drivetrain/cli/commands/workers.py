"""``drivetrain workers``."""

from __future__ import annotations

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.overview import worker_document
from drivetrain.cli.overview_tables import running_table, worker_table
from drivetrain.cli.queue_notes import blocked_notes, echo_notes

__all__ = ["workers"]


@click.command()
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="How many running tasks to list."
)
@json_option
@app_options
@click.pass_context
def workers(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the workers that live: what they serve, what they run, and what they have done since they started.

    Workers report every two seconds. One that died is listed for up to 15 seconds.
    """
    with options_of(ctx).open_app() as app:
        found = app.operations.workers()
        if as_json:
            echo_json({"workers": [worker_document(worker) for worker in found]})
            return
        if not found:
            click.echo("No worker reports. Start one with `drivetrain worker`.")
            return
        echo_table(*worker_table(found))
        echo_notes(blocked_notes(found))
        headers, rows = running_table(found, app.runtime.clock.now(), limit)
        if rows:
            click.echo()
            echo_table(headers, rows)
