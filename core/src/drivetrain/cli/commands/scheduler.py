"""``drivetrain scheduler``."""

from __future__ import annotations

from multiprocessing import connection

import click

from drivetrain.app.application import App
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.logging_setup import FORMATS, set_up_logging
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.worker.logs import get_logger

__all__ = ["scheduler"]

logger = get_logger("drivetrain.schedules")

_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command()
@click.argument("reference", metavar="MODULE:APP", required=False)
@click.option("--log-level", type=click.Choice(_LEVELS, case_sensitive=False), help="How much is logged.")
@click.option("--log-format", type=click.Choice(list(FORMATS)), help="Text (the default), or one JSON object a line.")
@app_options
@click.pass_context
def scheduler(ctx: click.Context, reference: str | None, log_level: str | None, log_format: str | None) -> None:
    """Tick the schedules of an app without running tasks, until SIGTERM or SIGINT.

    Workers tick schedules too, unless the setting `schedules` is false. Any number of both may run at once: each tick
    is sent once.
    """
    options = options_of(ctx)
    options.app = reference or options.app
    with options.open_app() as app:
        if app.settings.configure_logging:
            set_up_logging(log_level or app.settings.log_level, log_format or "text")
        _run(app)


def _run(app: App) -> None:
    made = app.scheduler()
    with Signals() as signals, made:
        logger.info("ticking the schedules; stop with SIGTERM")
        while Arrived.STOP not in signals.arrived():
            connection.wait([signals.reader])
    logger.info("the scheduler has stopped")
