"""``drivetrain limits``."""

from __future__ import annotations

import click
from attrs import asdict

from drivetrain.app.limits import LimitStatus, PlaceHolder
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp
from drivetrain.worker.limits.specs import Concurrency, Rate

__all__ = ["holders", "limits", "list_limits", "set_limit"]


@click.group()
@app_options
def limits() -> None:
    """List the limits of tasks, and change them while workers run."""


@limits.command("list")
@json_option
@app_options
@click.pass_context
def list_limits(ctx: click.Context, as_json: bool) -> None:
    """List all limits: their numbers, what was changed, and how much of each is in use."""
    with options_of(ctx).open_app() as app:
        found = app.limits.list()
        if as_json:
            echo_json({"limits": [_document(one) for one in found]})
        elif not found:
            click.echo("No task of this app has a limit.")
        else:
            echo_table(
                ["limit", "allows", "changed", "keys in use", "holding", "waiting", "reserved for", "tasks"],
                [_row(one) for one in found],
            )


@limits.command("set")
@click.argument("name")
@click.argument("limit", type=float, required=False)
@click.option("--per", type=float, help="The length of a period, in seconds. Default: as in the code.")
@click.option("--burst", type=float, help="How much may start at once after a pause. Default: as in the code.")
@click.option("--reset", is_flag=True, help="Let the limit be as in the code again.")
@app_options
@click.pass_context
def set_limit(  # noqa: PLR0917 - click passes the options by name
    ctx: click.Context, name: str, limit: float | None, per: float | None, burst: float | None, reset: bool
) -> None:
    """Change a limit for all workers. NAME is its name in the code, like 'api:{user}'.

    The change lasts until it is reset. Workers obey from their next start on.
    """
    if reset is (limit is not None):
        raise click.UsageError("give the new LIMIT, or --reset")
    with options_of(ctx).open_app() as app:
        if limit is None:
            was = app.limits.reset(name)
            click.echo(f"{name} is as in the code again." if was else f"{name} was not changed.")
        else:
            app.limits.set(name, limit, per=per, burst=burst, by=operator_name())
            click.echo(f"{name} is set to {limit:g}. `drivetrain limits set {name} --reset` takes it back.")


@limits.command()
@click.argument("name", required=False)
@json_option
@app_options
@click.pass_context
def holders(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the tasks that hold places of concurrency limits; of all, or of the limit NAME."""
    with options_of(ctx).open_app() as app:
        found = app.limits.holders(name)
        if as_json:
            echo_json({"holders": [asdict(one) for one in found]})
        elif not found:
            click.echo("No task holds a place.")
        else:
            rows = [
                [one.name, one.key, one.task_id, one.task, _state(one), one.worker, f"{one.seconds:.1f} s"]
                for one in found
            ]
            echo_table(["limit", "key", "id", "task", "state", "worker", "holds it for"], rows)


def _state(one: PlaceHolder) -> str:
    return "woken" if one.woken else one.state or "unknown"


def _row(one: LimitStatus) -> list[object]:
    keys = {*one.reserved_seconds, *one.holding}
    changed = None if one.change is None else f"to {one.change.limit:g} {one.change.by}".strip()
    longest = max(one.reserved_seconds.values(), default=0.0)
    return [
        one.name,
        _allowed(one),
        changed or "",
        len(keys),
        sum(one.holding.values()) or "",
        sum(one.waiting.values()) or "",
        f"{longest:.1f} s" if one.reserved_seconds else "",
        ", ".join(one.tasks),
    ]


def _allowed(one: LimitStatus) -> str:
    declared = one.declared
    if isinstance(declared, Concurrency):
        return f"{declared.limit} at a time"
    return "" if declared is None else f"{declared.limit:g} per {declared.per:g} s, burst {declared.burst:g}"


def _document(one: LimitStatus) -> dict[str, object]:
    change, declared = one.change, one.declared
    numbers: dict[str, object] = {"limit": declared.limit} if declared else {}
    if isinstance(declared, Rate):
        numbers |= {"per": declared.per, "burst": declared.burst}
    return {
        "name": one.name,
        "tasks": list(one.tasks),
        "declared": numbers or None,
        "change": change
        and {
            "limit": change.limit,
            "per": change.per,
            "burst": change.burst,
            "by": change.by,
            "since": timestamp(change.since),
        },
        "reserved_seconds": dict(one.reserved_seconds),
        "holding": dict(one.holding),
        "waiting": dict(one.waiting),
    }
