"""Actions on schedules: pause, resume, trigger, backfill, remove."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from drivetrain import App
from drivetrain.app.search_words import read_time
from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.refusals import stores_nothing
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.page import Id, Text

__all__ = ["SCHEDULE_ACTIONS", "Backfill", "ScheduleChoice", "SchedulePause", "ScheduleResume"]


class ScheduleChoice(Arguments, frozen=True, kw_only=True):
    """Which schedule to act on.

    Attributes:
        schedule: its id.
    """

    schedule: Id


class SchedulePause(Arguments, frozen=True, kw_only=True):
    """Which schedule to pause, and why.

    Attributes:
        schedule: its id.
        why: the reason, shown to other operators.
    """

    schedule: Id
    why: Text = ""


class ScheduleResume(Arguments, frozen=True, kw_only=True):
    """Which schedule to resume.

    Attributes:
        schedule: its id.
        missed: whether the ticks of the pause are sent, as its rule for missed ticks says.
    """

    schedule: Id
    missed: bool = False


class Backfill(Arguments, frozen=True, kw_only=True):
    """Which past ticks to send.

    Attributes:
        schedule: the id of the schedule.
        start: the first instant: ISO 8601, of UTC where it names no zone; or how long ago it was: ``7d``, ``12h``.
        end: the end, not included; not in the future.
        label: sends again what has run, once for each label; empty: what has run is left out.
    """

    schedule: Id
    start: Annotated[str, Meta(min_length=1, max_length=100)]
    end: Annotated[str, Meta(min_length=1, max_length=100)]
    label: Text = ""


def _pause(app: App, chosen: SchedulePause, by: str) -> Done:
    app.schedules.pause(chosen.schedule, why=chosen.why, by=by)
    return Done(text=f"Schedule {chosen.schedule} is paused: it does not tick until it is resumed.")


def _resume(app: App, chosen: ScheduleResume, _by: str) -> Done:
    resumed = app.schedules.resume(chosen.schedule, missed=chosen.missed)
    return Done(text=f"Schedule {chosen.schedule} {'is resumed' if resumed else 'was not paused'}.")


def _trigger(app: App, chosen: ScheduleChoice, _by: str) -> Done:
    task_id = app.schedules.trigger(chosen.schedule).id
    return Done(text=f"The workflow of schedule {chosen.schedule} was sent.", task_id=task_id)


def _backfill(app: App, chosen: Backfill, _by: str) -> Done:
    start, end = _period(app, chosen)
    report = app.schedules.backfill(chosen.schedule, start, end, label=chosen.label)
    known = f"; {len(report.known)} were known already" if report.known else ""
    return Done(text=f"{len(report.sent)} ticks of schedule {chosen.schedule} were sent{known}.")


def _remove(app: App, chosen: ScheduleChoice, _by: str) -> Done:
    removed = app.schedules.remove(chosen.schedule)
    running = f" {len(removed.running)} of its workflows still run." if removed.running else ""
    return Done(text=f"Schedule {chosen.schedule} is removed: no tick of it follows.{running}")


def _remove_question(_app: App, chosen: ScheduleChoice) -> str:
    return f"Remove schedule {chosen.schedule}? Workflows that were sent go on. This cannot be undone."


def _backfill_question(app: App, chosen: Backfill) -> str:
    start, end = (moment.isoformat(sep=" ", timespec="seconds") for moment in _period(app, chosen))
    return f"Send the ticks of schedule {chosen.schedule} from {start} to {end}?"


def _schedule_of(chosen: ScheduleChoice | SchedulePause | ScheduleResume | Backfill) -> Sequence[str]:
    return [chosen.schedule]


def _period(app: App, chosen: Backfill) -> tuple[datetime, datetime]:
    now = datetime.fromtimestamp(app.runtime.clock.now(), UTC)
    return _time("start", chosen.start, now), _time("end", chosen.end, now)


def _time(name: str, text: str, now: datetime) -> datetime:
    try:
        return read_time(text, now)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{name} is {text!r}; use an age like 12h or 7d, or a time like 2026-11-30T12:00"
        ) from None


SCHEDULE_ACTIONS = (
    ActionKind(
        name="schedules.pause",
        label="Pause",
        summary="Pause a schedule: it does not tick until it is resumed. A deploy does not resume it.",
        arguments=SchedulePause,
        perform=_pause,
        objects_of=_schedule_of,
        refusal=stores_nothing,
    ),
    ActionKind(
        name="schedules.resume",
        label="Resume",
        summary="Let a paused schedule tick again.",
        arguments=ScheduleResume,
        perform=_resume,
        objects_of=_schedule_of,
        refusal=stores_nothing,
    ),
    ActionKind(
        name="schedules.trigger",
        label="Trigger now",
        summary="Send the workflow of a schedule now, in addition to its ticks.",
        arguments=ScheduleChoice,
        perform=_trigger,
        objects_of=_schedule_of,
        refusal=stores_nothing,
    ),
    ActionKind(
        name="schedules.backfill",
        label="Backfill",
        summary="Send the ticks of a past period, at most 1,000. A tick whose task is known is not sent again.",
        arguments=Backfill,
        perform=_backfill,
        objects_of=_schedule_of,
        question=_backfill_question,
        refusal=stores_nothing,
    ),
    ActionKind(
        name="schedules.remove",
        label="Remove",
        summary="Remove a schedule that code does not declare. No tick follows; workflows that were sent go on.",
        arguments=ScheduleChoice,
        perform=_remove,
        objects_of=_schedule_of,
        role=Role.ADMIN,
        question=_remove_question,
        refusal=stores_nothing,
    ),
)
