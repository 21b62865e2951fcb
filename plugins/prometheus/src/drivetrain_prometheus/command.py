"""The command ``drivetrain-prometheus``: the exporter, and the files that this package ships."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from multiprocessing import connection

import click
from prometheus_client import CollectorRegistry

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.errors import message_of
from drivetrain.cli.exit_codes import Exit, exit_code
from drivetrain.cli.logging_setup import set_up_logging
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.contract import DrivetrainError
from drivetrain_prometheus.endpoint import ProcessEndpoint
from drivetrain_prometheus.exporter import Exporter
from drivetrain_prometheus.options import DEFAULT_HOST

__all__ = ["main"]

#: Next to the port of workers, so that both run on one machine.
_EXPORTER_PORT = 9761


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@app_options
def main() -> None:
    """Metrics of drivetrain for Prometheus."""


@main.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_EXPORTER_PORT,
    show_default=True,
    help="The port; 0: any free one.",
)
@app_options
@click.pass_context
def exporter(ctx: click.Context, /, *, host: str, port: int) -> None:
    """Serve metrics of queues and workers, until SIGTERM or SIGINT.

    It reads the broker and the backend for each scrape, and nothing else. One exporter for each app is enough.
    """
    options = options_of(ctx)
    set_up_logging("info", "text")
    try:
        with Signals() as signals, options.open_app() as app:
            stores = app.runtime.backend.capabilities.stores  # an error in a URL ends the command here
            schedules = partial(app.schedules.list, next=1) if stores else None
            registry = CollectorRegistry()
            limits = app.limits.list if stores else None
            registry.register(Exporter(app.settings.name, app.operations, schedules=schedules, limits=limits))
            endpoint = ProcessEndpoint(host, port, registry)
            endpoint.start()
            if endpoint.port is None:
                ctx.exit(Exit.FAILED)
            while Arrived.STOP not in signals.arrived():
                connection.wait([signals.reader])
            endpoint.stop()
    except DrivetrainError as error:
        click.echo(message_of(error, options), err=True)
        ctx.exit(exit_code(error))


@main.command()
def dashboard() -> None:
    """Print the Grafana dashboard, as JSON."""
    click.echo(files("drivetrain_prometheus").joinpath("dashboard.json").read_text(encoding="utf-8"), nl=False)


@main.command()
def alerts() -> None:
    """Print the alert rules, as YAML."""
    click.echo(files("drivetrain_prometheus").joinpath("alerts.yaml").read_text(encoding="utf-8"), nl=False)


if __name__ == "__main__":
    main()
