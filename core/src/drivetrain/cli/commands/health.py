"""``drivetrain health``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from drivetrain.app.application import App
from drivetrain.app.health import HealthCheck, check_services, check_workers
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.output import echo_json, json_option, printable
from drivetrain.cli.secrets import without_secrets

__all__ = ["health"]


@click.command()
@click.argument("reference", required=False, metavar="[MODULE:APP]")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="How many workers must serve, anywhere.")
@click.option("--here", is_flag=True, help="A worker of this machine or container must serve.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each service may take to answer.",
)
@json_option
@app_options
@click.pass_context
def health(
    ctx: click.Context, /, *, reference: str | None, workers: int, here: bool, timeout: float, as_json: bool
) -> None:
    """Check that the broker and the backend answer, and that workers live. For health checks of containers.

    It ends with 0 if all is well, with 4 if a service does not answer, and with 1 if too few workers serve. A worker
    that stops or is blocked does not serve. Without --workers and --here, workers are not checked.
    """
    options = options_of(ctx)
    options.app = reference or options.app
    checks = list(_checks(options.open_app(), workers, here, timeout))
    texts = {check.name: without_secrets(check.text, options.secrets()) for check in checks}
    if as_json:
        echo_json({check.name: {"healthy": check.healthy, "text": texts[check.name]} for check in checks})
    else:
        for check in checks:
            click.echo(f"{check.name:8} {'ok' if check.healthy else 'FAILED':6}  {printable(texts[check.name])}")
    ctx.exit(_code(checks))  # without closing the app: a service that does not answer would keep it


def _checks(app: App, workers: int, here: bool, timeout: float) -> Iterator[HealthCheck]:
    services = check_services(app, timeout)
    yield from services
    if (workers or here) and all(check.healthy for check in services):
        yield check_workers(app, timeout, least=max(workers, int(here)), here=here)


def _code(checks: list[HealthCheck]) -> Exit:
    failed = {check.name for check in checks if not check.healthy}
    if failed & {"broker", "backend"}:
        return Exit.UNAVAILABLE
    return Exit.FAILED if failed else Exit.OK
