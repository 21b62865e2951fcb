"""The program ``drivetrain``: its commands, and how it reports errors."""

from __future__ import annotations

from typing import Any

import click

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.commands.bulk import bulk
from drivetrain.cli.commands.cancel import cancel
from drivetrain.cli.commands.dead import dead
from drivetrain.cli.commands.describe import describe
from drivetrain.cli.commands.drivers import drivers
from drivetrain.cli.commands.health import health
from drivetrain.cli.commands.init import init
from drivetrain.cli.commands.inspect import inspect
from drivetrain.cli.commands.limits import limits
from drivetrain.cli.commands.purge import purge
from drivetrain.cli.commands.queues import queues
from drivetrain.cli.commands.rescue import rescue_command
from drivetrain.cli.commands.result import result
from drivetrain.cli.commands.retry import retry
from drivetrain.cli.commands.scheduler import scheduler
from drivetrain.cli.commands.schedules import schedules
from drivetrain.cli.commands.stats import stats
from drivetrain.cli.commands.tasks import tasks
from drivetrain.cli.commands.top import top
from drivetrain.cli.commands.unique import unique
from drivetrain.cli.commands.version import version
from drivetrain.cli.commands.worker import worker
from drivetrain.cli.commands.workers import workers
from drivetrain.cli.errors import message_of
from drivetrain.cli.exit_codes import MEANINGS, exit_code
from drivetrain.cli.lost_output import report_output_errors
from drivetrain.cli.package_commands import CommandGroup
from drivetrain.contract import DrivetrainError

__all__ = ["main"]

_CODES = "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())


class _Program(CommandGroup):
    """A group whose errors are one clear message each."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with report_output_errors():  # --help is printed in here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with report_output_errors():
            try:
                return super().invoke(ctx)
            except DrivetrainError as error:
                click.echo(message_of(error, options_of(ctx)), err=True)
                ctx.exit(exit_code(error))


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@app_options
def main() -> None:
    """Run workers, and look after queues and results.

    The options below may stand before or after the command. Without an app or drivers, the settings in DRIVETRAIN_…
    variables count.
    """


for _command in (
    worker,
    workers,
    top,
    stats,
    queues,
    limits,
    unique,
    inspect,
    tasks,
    result,
    cancel,
    purge,
    dead,
    retry,
    bulk,
    rescue_command,
    schedules,
    scheduler,
    health,
    drivers,
    describe,
    init,
    version,
):
    main.add_command(_command)
