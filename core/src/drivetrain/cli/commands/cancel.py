"""``drivetrain cancel``."""

from __future__ import annotations

import click

from drivetrain.app.application import App
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.output import echo_json, echo_table, json_option
from drivetrain.contract import State

__all__ = ["cancel"]

_UNKNOWN = "unknown"


@click.command()
@click.argument("task_ids", nargs=-1, required=True, metavar="ID...")
@json_option
@app_options
@click.pass_context
def cancel(ctx: click.Context, task_ids: tuple[str, ...], as_json: bool) -> None:
    """Cancel tasks that have not ended, and all that waits for them.

    Exit code: 0 all are cancelled, 1 some had ended otherwise before, 3 some are unknown.
    """
    with options_of(ctx).open_app() as app:
        outcome = _cancel(app, list(dict.fromkeys(task_ids)))
    if as_json:
        echo_json({"tasks": [{"id": task_id, "state": state} for task_id, state in outcome.items()]})
    else:
        echo_table(("ID", "STATE"), outcome.items())
    ctx.exit(_exit_code(outcome))


def _cancel(app: App, task_ids: list[str]) -> dict[str, str]:
    known = [record.task_id for record in app.runtime.backend.read(task_ids) if record is not None]
    app.cancel(*known)
    # Read again: one that ended meanwhile was not cancelled.
    records = app.runtime.backend.read(task_ids)
    return {
        task_id: _UNKNOWN if record is None else record.state.value
        for task_id, record in zip(task_ids, records, strict=True)
    }


def _exit_code(outcome: dict[str, str]) -> Exit:
    states = set(outcome.values())
    if _UNKNOWN in states:
        return Exit.NOT_FOUND
    return Exit.OK if states <= {State.CANCELLED.value} else Exit.FAILED
