"""``drivetrain worker``."""

from __future__ import annotations

import sys
from typing import Any

import click

from drivetrain.cli.app_options import APP_VARIABLE, options_of, verbose_option
from drivetrain.cli.logging_setup import FORMATS
from drivetrain.cli.reloading import run_with_reload
from drivetrain.cli.signals import Signals
from drivetrain.cli.supervisor import Supervisor
from drivetrain.cli.worker_process import WorkerPlan, work

__all__ = ["worker"]

_LEVELS = ("debug", "info", "warning", "error", "critical")


def _names(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in names:
        raise click.BadParameter("give names with commas between them")
    return names


def _bounds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    least, _, most = text.partition(",")
    if not (least.strip().isdecimal() and most.strip().isdecimal() and 1 <= int(least) <= int(most)):
        raise click.BadParameter("give the smallest and the largest number of processes, from 1: 1,8")
    return int(least), int(most)


@click.command()
@click.argument("reference", metavar="MODULE:APP", required=False)
@click.option(
    "--queues",
    metavar="NAMES",
    callback=_names,
    help="Queues to serve, the most urgent first: high,default. With weights, none starves: high:5,default:1.",
)
@click.option("--concurrency", type=click.IntRange(min=1), help="Tasks at a time in each process.")
@click.option(
    "--max-tasks-per-child",
    type=click.IntRange(min=1),
    help="Tasks that a child process (pool processes) runs before it is replaced.",
)
@click.option(
    "--max-memory-per-child",
    type=click.IntRange(min=1),
    metavar="MB",
    help="Memory of a child process after a task, from which on it is replaced.",
)
@click.option("--processes", type=click.IntRange(min=1), help="How many processes; those that crash are replaced.")
@click.option(
    "--autoscale",
    metavar="MIN,MAX",
    callback=_bounds,
    help="Adapt the number of processes to the work that waits and to the free processors: 1,8.",
)
@click.option(
    "--supervisor/--no-supervisor",
    default=True,
    help="Whether a supervisor process replaces a worker that crashes (the default); without it, for debuggers.",
)
@click.option("--name", help="The start of the worker's name; process id and a few letters are added.")
@click.option(
    "--lease-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="How long the tasks of a dead worker wait for another one.",
)
@click.option(
    "--grace-seconds", type=click.FloatRange(min=0), help="How long running tasks may take when the worker stops."
)
@click.option(
    "--plugins", metavar="NAMES", callback=_names, help="Plugins, beyond those of the app: opentelemetry,prometheus."
)
@click.option(
    "--reload", is_flag=True, help="Start again when a Python, TOML or YAML file here changes, for development."
)
@click.option("--log-level", type=click.Choice(_LEVELS, case_sensitive=False), help="How much is logged.")
@click.option("--log-format", type=click.Choice(list(FORMATS)), help="Text (the default), or one JSON object a line.")
@verbose_option
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    *,
    reference: str | None,
    processes: int | None,
    autoscale: tuple[int, int] | None,
    supervisor: bool,
    name: str | None,
    log_level: str | None,
    log_format: str | None,
    plugins: tuple[str, ...] | None,
    reload: bool,
    **options: Any,
) -> None:
    """Run a worker of an app, until SIGTERM or SIGINT.

    MODULE:APP names the app in your code; without it, DRIVETRAIN_APP does. MODULE alone is enough if it has one app.
    The app's settings apply where an option is not given.

    The first signal lets running tasks finish and releases what has not begun; a second one releases everything at
    once. SIGUSR1 writes the stacks of all threads to standard error.
    """
    if autoscale is not None and (processes is not None or not supervisor):
        raise click.UsageError("--autoscale needs the supervisor, and takes the place of --processes")
    if reload:
        _run_with_reload(ctx, reference, options)
        return
    plan = WorkerPlan(
        reference=_reference(ctx, reference),
        options=_with_weights({key: value for key, value in options.items() if value is not None}),
        name=name,
        log_level=log_level,
        log_format=log_format,
        processes=processes,
        verbose=options_of(ctx).verbose,
        plugins=plugins or (),
        autoscale=autoscale,
    )
    ctx.exit(Supervisor(plan).run() if supervisor else _work_here(ctx, plan))


def _run_with_reload(ctx: click.Context, reference: str | None, options: dict[str, Any]) -> None:
    _reference(ctx, reference)
    arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
    # Tasks that run when a file changes are run again by the new code.
    run_with_reload(arguments if options["grace_seconds"] is not None else [*arguments, "--grace-seconds", "1"])


def _with_weights(options: dict[str, Any]) -> dict[str, Any]:
    """Options with the weights of queues apart from their names, if every queue has one."""
    parts = [name.rpartition(":") for name in options.get("queues", ())]
    if not parts or not all(name and weight.isdecimal() for name, _, weight in parts):
        return options
    weights = {name: int(weight) for name, _, weight in parts}
    return {**options, "queues": tuple(weights), "queue_weights": weights}


def _reference(ctx: click.Context, given: str | None) -> str:
    options = options_of(ctx)
    options.app = given or options.app
    reference = options.reference()
    if reference is None:
        raise click.UsageError(f"no app given: use drivetrain worker MODULE:APP, or set {APP_VARIABLE}")
    return reference


def _work_here(ctx: click.Context, plan: WorkerPlan) -> int:
    app = options_of(ctx).open_app()
    app.add_plugins(*plan.plugins)
    if (plan.processes or app.settings.processes) > 1:
        raise click.UsageError("--no-supervisor runs one process; use --processes 1")
    with Signals() as signals:
        return work(plan, app, signals)
