"""``drivetrain top``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import connection
from typing import TYPE_CHECKING

import click

from drivetrain.app.application import App
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.output import echo_json, echo_table, json_option, one_line
from drivetrain.cli.overview import Overview, Rates, overview_document, rates, read_overview
from drivetrain.cli.overview_tables import Table, queue_table, running_table, worker_table
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.contract import ConfigurationError, ServiceError

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["top"]


@click.command()
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="How often to read the services, in seconds.",
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(min=0), help="How many running tasks to show."
)
@click.option("--once", is_flag=True, help="Print the tables once, and end; --json implies it.")
@json_option
@app_options
@click.pass_context
def top(ctx: click.Context, interval: float, limit: int, once: bool, as_json: bool) -> None:
    """Watch queues, workers and running tasks. Ctrl-C ends it.

    The live view needs rich: pip install 'drivetrain[top]'. --once does not.
    """
    with options_of(ctx).open_app() as app:
        if as_json:
            echo_json(overview_document(read_overview(app)))
        elif once:
            _print_once(read_overview(app), limit)
        elif not _is_terminal():
            raise click.UsageError("the live view needs a terminal; use --once, or --json for scripts")
        else:
            _watch(app, interval, limit)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _print_once(overview: Overview, limit: int) -> None:
    tables = [table for table in _tables(overview, limit) if table[1]]
    for index, (headers, rows) in enumerate(tables):
        if index:
            click.echo()
        echo_table(headers, rows)


def _tables(overview: Overview, limit: int) -> Iterator[Table]:
    yield queue_table(overview)
    yield worker_table(overview.workers)
    yield running_table(overview.workers, overview.at, limit)


def _watch(app: App, interval: float, limit: int) -> None:
    try:
        from rich.live import Live
    except ImportError:
        raise ConfigurationError("the live view needs rich: pip install 'drivetrain[top]', or use --once") from None
    before: Overview | None = None
    # Not KeyboardInterrupt: it may be raised where it is lost, in a callback for instance.
    with Signals() as signals, Live(screen=True, auto_refresh=False) as live:
        while Arrived.STOP not in signals.arrived():
            try:
                overview = read_overview(app)
            except ServiceError as error:  # it may come back; the last view stays readable until then
                live.update(_unavailable(before, limit, str(error)), refresh=True)
            else:
                live.update(_view(overview, rates(before, overview), limit), refresh=True)
                before = overview
            connection.wait([signals.reader], timeout=interval)


def _unavailable(last: Overview | None, limit: int, error: str) -> Group:
    from rich.console import Group
    from rich.text import Text

    warning = Text(one_line(f"cannot read: {error}; retrying"), style="bold red")
    return Group(warning) if last is None else Group(warning, _view(last, Rates(), limit))


def _view(overview: Overview, rate: Rates, limit: int) -> Group:
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    tables = []
    for headers, rows in _tables(overview, limit):
        table = RichTable(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for index, header in enumerate(headers):
            numbers = bool(rows) and all(isinstance(row[index], int) for row in rows)
            table.add_column(header, justify="right" if numbers else "left", overflow="ellipsis", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(one_line(str(cell))) for cell in row))
        tables.append(table)
    return Group(Text(_headline(overview, rate)), *(part for table in tables for part in (Text(), table)))


def _headline(overview: Overview, rate: Rates) -> str:
    running = sum(worker.running_count for worker in overview.workers)
    text = f"{len(overview.workers)} workers, {running} tasks running"
    if rate.succeeded is None:
        return text
    return f"{text}; per second: {rate.succeeded:.1f} succeeded, {rate.failed:.1f} failed, {rate.retried:.1f} retried"
