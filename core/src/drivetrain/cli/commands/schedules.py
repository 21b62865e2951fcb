"""``drivetrain schedules``: what sends tasks at planned times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from drivetrain.app.application import App
from drivetrain.app.shown_schedules import Schedule
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.moments import moment
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import echo_json, echo_table, json_option, timestamp
from drivetrain.cli.prompts import confirm, yes_option
from drivetrain.contract import ScheduleSpec

__all__ = ["backfill", "list_schedules", "pause", "remove", "resume", "schedules", "show", "trigger"]

_next_option = click.option(
    "--next",
    "upcoming",
    default=1,
    show_default=True,
    type=click.IntRange(0, 1000),
    help="How many next ticks to show.",
)


@click.group()
def schedules() -> None:
    """List, show, pause, resume, trigger, backfill or remove schedules."""


@schedules.command("list")
@_next_option
@json_option
@app_options
@click.pass_context
def list_schedules(ctx: click.Context, upcoming: int, as_json: bool) -> None:
    """List all schedules by id, each with its next ticks. Times are in UTC."""
    with options_of(ctx).open_app() as app:
        found = app.schedules.list(next=upcoming)
    if as_json:
        echo_json({"schedules": [_document(schedule) for schedule in found]})
    elif found:
        headers = ("ID", "WHEN", "TASK", "STATE", "NEXT", "LAST", "SENT", "SKIPPED", "DROPPED", "NOTE")
        echo_table(headers, [_row(schedule) for schedule in found])
    else:
        click.echo("There are no schedules. Workers store those that the app declares when they start.")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@click.option(
    "--next",
    "upcoming",
    default=5,
    show_default=True,
    type=click.IntRange(0, 1000),
    help="How many next ticks to show.",
)
@json_option
@app_options
@click.pass_context
def show(ctx: click.Context, schedule_id: str, upcoming: int, as_json: bool) -> None:
    """Show all that is known of a schedule. Times are in UTC."""
    with options_of(ctx).open_app() as app:
        schedule = app.schedules.get(schedule_id, next=upcoming)
    document = _document(schedule)
    if as_json:
        echo_json(document)
        return
    echo_table(
        ("FIELD", "VALUE"), [(name, _cell(value)) for name, value in document.items() if value not in (None, "")]
    )


@schedules.command()
@click.argument("schedule_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--why", default="", help="The reason, shown to other operators.")
@app_options
@click.pass_context
def pause(ctx: click.Context, schedule_ids: tuple[str, ...], why: str) -> None:
    """Pause schedules: they do not tick until they are resumed. A deploy does not resume them."""
    with options_of(ctx).open_app() as app:
        for schedule_id in schedule_ids:
            app.schedules.pause(schedule_id, why=why, by=operator_name())
            click.echo(f"Paused {schedule_id}. `drivetrain schedules resume` resumes it.")


@schedules.command()
@click.argument("schedule_ids", nargs=-1, required=True, metavar="ID...")
@click.option("--missed", is_flag=True, help="Send the ticks of the pause, as the schedule's misfire rule says.")
@app_options
@click.pass_context
def resume(ctx: click.Context, schedule_ids: tuple[str, ...], missed: bool) -> None:
    """Let paused schedules tick again, from now on."""
    with options_of(ctx).open_app() as app:
        for schedule_id in schedule_ids:
            was_paused = app.schedules.resume(schedule_id, missed=missed)
            click.echo(f"Resumed {schedule_id}." if was_paused else f"{schedule_id} was not paused.")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@json_option
@app_options
@click.pass_context
def trigger(ctx: click.Context, schedule_id: str, as_json: bool) -> None:
    """Send the workflow of a schedule now, in addition to its ticks. Prints the id of its last task."""
    with options_of(ctx).open_app() as app:
        task_id = app.schedules.trigger(schedule_id).id
    if as_json:
        echo_json({"id": schedule_id, "task": task_id})
    else:
        click.echo(task_id)


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@click.option("--from", "start", required=True, metavar="TIME", callback=moment, help="The begin: 7d, 12h or a date.")
@click.option("--to", "end", required=True, metavar="TIME", callback=moment, help="The end, not included.")
@click.option("--label", default="", help="Send again what has run; a label runs each tick once.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1), help="The most ticks.")
@yes_option
@json_option
@app_options
@click.pass_context
def backfill(
    ctx: click.Context,
    /,
    *,
    schedule_id: str,
    start: datetime,
    end: datetime,
    label: str,
    limit: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Send the ticks of a past period. A tick whose task is known is not sent again, unless there is a label."""
    with options_of(ctx).open_app() as app:
        confirm(f"Send the ticks of {schedule_id} from {timestamp(start)} to {timestamp(end)}?", yes=yes)
        report = app.schedules.backfill(schedule_id, start, end, label=label, limit=limit)
    if as_json:
        echo_json({"id": schedule_id, "sent": _stamps(report.sent), "known": _stamps(report.known)})
    else:
        click.echo(f"Sent {len(report.sent)} ticks of {schedule_id}; {len(report.known)} were known already.")


@schedules.command()
@click.argument("schedule_id", metavar="ID")
@yes_option
@json_option
@app_options
@click.pass_context
def remove(ctx: click.Context, schedule_id: str, yes: bool, as_json: bool) -> None:
    """Remove a schedule that was put at run time, or that code does not declare any more.

    No tick follows. Workflows that were sent go on; their last tasks are listed.
    """
    with options_of(ctx).open_app() as app:
        _check_exists(app, schedule_id)
        confirm(f"Remove the schedule {schedule_id}?", yes=yes)
        removed = app.schedules.remove(schedule_id)
    if as_json:
        echo_json({"id": schedule_id, "last": timestamp(removed.last), "running": list(removed.running)})
        return
    running = f" Still running: {', '.join(removed.running)}." if removed.running else ""
    click.echo(f"Removed {schedule_id}.{running}")


def _check_exists(app: App, schedule_id: str) -> None:
    """Raise UnknownSchedule before the question."""
    app.schedules.get(schedule_id, next=0)


def _document(schedule: Schedule) -> dict[str, Any]:
    pause = schedule.paused
    return {
        "id": schedule.id,
        "when": _when_text(schedule.when),
        "kind": schedule.when.kind,
        "parameters": dict(schedule.when.parameters),
        "task": schedule.task,
        "state": schedule.state,
        "declared": schedule.declared,
        "paused": None if pause is None else {"since": timestamp(pause.since), "why": pause.why, "by": pause.by},
        "next": _stamps(schedule.next),
        "last": timestamp(schedule.last),
        "last_sent": timestamp(schedule.last_sent),
        "running": list(schedule.running),
        "waiting": timestamp(schedule.waiting),
        "sent": schedule.sent,
        "skipped": schedule.skipped,
        "dropped": schedule.dropped,
        "failures": schedule.failures,
        "problem": schedule.problem,
        "options": dict(schedule.options),
        "tzdata": schedule.tzdata,
    }


def _row(schedule: Schedule) -> Sequence[object]:
    return (
        schedule.id,
        _when_text(schedule.when),
        schedule.task,
        schedule.state,
        " ".join(_stamps(schedule.next)),
        timestamp(schedule.last) or "",
        schedule.sent,
        schedule.skipped,
        schedule.dropped,
        schedule.problem or (schedule.paused.why if schedule.paused is not None else schedule.options.get("note", "")),
    )


def _when_text(when: ScheduleSpec) -> str:
    """When a schedule ticks, in a few words."""
    parameters = when.parameters
    if when.kind == "cron":
        return f"{parameters['cron']} ({parameters['tz']})"
    if when.kind == "every":
        phase = f", phase {parameters['phase']:g} s" if parameters.get("phase") else ""
        return f"every {parameters['seconds']:g} s{phase}"
    if when.kind == "at":
        return f"at {len(parameters['instants'])} instants"
    return f"{when.kind} {dict(parameters)}"


def _stamps(instants: Sequence[datetime]) -> list[str]:
    return [text for instant in instants if (text := timestamp(instant)) is not None]


def _cell(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items() if item not in (None, ""))
    return ", ".join(map(str, value)) if isinstance(value, list) else value
