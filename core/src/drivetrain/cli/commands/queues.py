"""``drivetrain queues``."""

from __future__ import annotations

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.overview import overview_document, read_overview
from drivetrain.cli.overview_tables import queue_table
from drivetrain.cli.queue_notes import echo_notes, queue_notes

__all__ = ["pause", "queues", "resume"]


@click.group(invoke_without_command=True)
@json_option
@app_options
@click.pass_context
def queues(ctx: click.Context, as_json: bool) -> None:
    """List all queues: sizes, whether a worker serves them, and whether they are paused. Or pause and resume them."""
    if ctx.invoked_subcommand is not None:
        return
    with options_of(ctx).open_app() as app:
        overview = read_overview(app)
        if as_json:
            echo_json({"queues": overview_document(overview)["queues"]})
        else:
            echo_table(*queue_table(overview))
            echo_notes(queue_notes(overview))


@queues.command()
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
@click.option("--why", default="", help="The reason, shown to other operators.")
@app_options
@click.pass_context
def pause(ctx: click.Context, queues: tuple[str, ...], why: str) -> None:
    """Pause queues: no worker starts a task from them until they are resumed.

    Workers obey within two seconds. Running tasks go on. Tasks can still be sent to the queues, and wait there.
    """
    with options_of(ctx).open_app() as app:
        app.operations.pause(*queues, why=why, by=operator_name())
        click.echo(f"Paused {', '.join(queues)}. `drivetrain queues resume` resumes them.")


@queues.command()
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...")
@app_options
@click.pass_context
def resume(ctx: click.Context, queues: tuple[str, ...]) -> None:
    """Let workers start tasks from these queues again."""
    with options_of(ctx).open_app() as app:
        resumed = app.operations.resume(*queues)
        for queue in queues:
            click.echo(f"Resumed {queue}." if queue in resumed else f"{queue} was not paused.")
