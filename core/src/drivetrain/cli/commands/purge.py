"""``drivetrain purge``."""

from __future__ import annotations

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.output import echo_json, json_option
from drivetrain.cli.prompts import check_queue, confirm, yes_option
from drivetrain.contract import QueueSizes

__all__ = ["purge"]


@click.command()
@click.argument("queue")
@yes_option
@json_option
@app_options
@click.pass_context
def purge(ctx: click.Context, queue: str, yes: bool, as_json: bool) -> None:
    """Cancel the tasks that wait in QUEUE, delayed ones too, and drop their messages.

    Tasks that run now and dead letters stay.
    """
    with options_of(ctx).open_app() as app:
        check_queue(ctx, app, queue)
        sizes = app.operations.sizes([queue])[queue]
        confirm(f"Drop {_count(sizes)} of the queue {queue!r}?", yes=yes)
        dropped = app.operations.purge(queue)
    if as_json:
        echo_json({"queue": queue, "purged": dropped})
    else:
        click.echo(f"{dropped} dropped from {queue}")


def _count(sizes: QueueSizes) -> str:
    if sizes.ready is None or sizes.delayed is None:
        return "all waiting tasks"
    return f"{sizes.ready} ready and {sizes.delayed} delayed tasks"
