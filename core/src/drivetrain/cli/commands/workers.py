"""``drivetrain workers``."""

from __future__ import annotations

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.cli.overview import worker_document
from drivetrain.cli.overview_tables import running_table, worker_table
from drivetrain.cli.queue_notes import blocked_notes, echo_notes

__all__ = ["stop", "workers"]


@click.group(invoke_without_command=True)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="How many running tasks to list."
)
@json_option
@app_options
@click.pass_context
def workers(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the workers that live: what they serve, run and have done since they started. Or stop them.

    Workers report every two seconds. One that died is listed for up to 15 seconds.
    """
    if ctx.invoked_subcommand is not None:
        return
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


@workers.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--why", default="", help="The reason, shown to other operators.")
@app_options
@click.pass_context
def stop(ctx: click.Context, names: tuple[str, ...], why: str) -> None:
    """Stop workers, by the names that `drivetrain workers` lists: each is a process of a `drivetrain worker`.

    A worker receives nothing more within two seconds, lets its running tasks end in its grace period, and releases the
    others. No other process is started in its place. A `drivetrain worker` ends with its last process; then systemd or
    Kubernetes may start it again. Where one name is unknown, no worker is stopped.
    """
    with options_of(ctx).open_app() as app:
        for worker in app.operations.stop_workers(*names, why=why, by=operator_name()):
            tasks = f"its {worker.running_count} running tasks" if worker.running_count else "nothing that runs"
            click.echo(f"Asked {worker.name} to stop; it waits for {tasks}.")
