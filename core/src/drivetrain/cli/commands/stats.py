"""``drivetrain stats``."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.counts_documents import over_time_document
from drivetrain.cli.counts_tables import bar_seconds, counts_table
from drivetrain.cli.moments import moment
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp

__all__ = ["stats"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> timedelta | None:
    found = re.fullmatch("([0-9]{1,6})([smhd])", text or "")
    if text is not None and found is None:
        raise click.BadParameter(f"{text!r} is not a length of time; use one like 60s, 10m or 1h")
    return None if found is None else timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command()
@click.option("--since", callback=moment, metavar="TIME", help="The start: 30m, 12h or 2026-11-30T12:00. Default: 1h.")
@click.option("--until", callback=moment, metavar="TIME", help="The end. Default: now.")
@click.option("--task", help="Count only the tasks of this name.")
@click.option("--queue", help="Count only the tasks of this queue.")
@click.option(
    "--by", type=click.Choice(["task", "queue"]), default="task", show_default=True, help="What each row counts."
)
@click.option("--step", callback=_duration, metavar="TIME", help="The length of a step of the chart, like 10m.")
@json_option
@app_options
@click.pass_context
def stats(  # noqa: PLR0917 - click passes the options by name
    ctx: click.Context,
    since: datetime | None,
    until: datetime | None,
    task: str | None,
    queue: str | None,
    by: str,
    step: timedelta | None,
    as_json: bool,
) -> None:
    """Show what became of tasks over time, and how long they waited and ran.

    Workers report every five seconds. Counts are kept for the setting counts_retention_seconds, two days by default: by
    minute for the last three hours, and by ten minutes before that. Quantiles are estimates.
    """
    with options_of(ctx).open_app() as app:
        found = app.operations.counts(since=since, until=until, task=task, queue=queue, step=step)
        if as_json:
            echo_json(over_time_document(found))
            return
        headers, rows = counts_table(found, by_queue=by == "queue", encoding=sys.stdout.encoding or "ascii")
        span = f"from {timestamp(found.since)} to {timestamp(found.until)}"
        if not rows:
            click.echo(f"No worker has counted anything {span}.")
            return
        echo_table(headers, rows)
        click.echo(f"\nA bar of the chart is {timedelta(seconds=bar_seconds(found))} long, {span}.")
