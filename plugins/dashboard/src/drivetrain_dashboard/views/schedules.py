"""The page of schedules: when each ticks, what became of its ticks, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from drivetrain.app.shown_schedules import Schedule, UnknownSchedule
from drivetrain.contract import ScheduleSpec
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Page, Query, Text
from drivetrain_dashboard.views.queues import PauseRow, pause_row

__all__ = ["ScheduleRow", "SchedulesPage", "SchedulesQuery", "read_schedules"]

#: How many next ticks the list and an opened schedule show.
_NEXT, _NEXT_OPENED = 3, 20


class SchedulesQuery(Query, frozen=True, kw_only=True):
    """Which schedule to open.

    Attributes:
        schedule: its id; empty: none.
    """

    schedule: Text = ""


class ScheduleRow(Struct, frozen=True, kw_only=True):
    """A schedule. Times are Unix seconds.

    Attributes:
        id: its id.
        when: when it ticks, in a few words.
        task: the names of the tasks that it sends.
        state: ``active``, ``paused``, ``orphaned`` (code does not declare it any more), ``finished`` or ``unreadable``.
        declared: whether code or settings declare it; otherwise it was put at run time.
        paused: why it is paused; None: it is not.
        next: its next ticks.
        late_seconds: by how much the next tick is overdue; 0: it is not.
        last: the instant of its last tick; None: it had none.
        last_sent: when that was sent.
        running: the ids of the last tasks of its workflows that have not ended.
        waiting: the tick that waits for the end of the workflow before; None: none does.
        sent: how many ticks were sent.
        dropped: how many ticks were not sent because they would have been too late.
        skipped: how many ticks were not sent because the workflow before had not ended.
        failures: how many of its workflows have failed since the last one that succeeded.
        problem: what is wrong; empty: nothing.
        options: its options, as text.
    """

    id: str
    when: str
    task: str
    state: str
    declared: bool
    paused: PauseRow | None = None
    next: tuple[float, ...] = ()
    late_seconds: float = 0.0
    last: float | None = None
    last_sent: float | None = None
    running: tuple[str, ...] = ()
    waiting: float | None = None
    sent: int = 0
    dropped: int = 0
    skipped: int = 0
    failures: int = 0
    problem: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


class SchedulesPage(Page, frozen=True, kw_only=True):
    """The page of schedules.

    Attributes:
        schedules: all schedules, by id.
        opened: the schedule that the address names, with more of its ticks; None: none.
        unknown: whether the address names a schedule that does not exist.
    """

    schedules: tuple[ScheduleRow, ...] = ()
    opened: ScheduleRow | None = None
    unknown: bool = False


def read_schedules(context: ReadContext, query: SchedulesQuery) -> SchedulesPage:
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    now = context.now()
    if not context.stores:
        return SchedulesPage(at=now, problem="The backend stores nothing, so it stores no schedules.")
    page = SchedulesPage(at=now, schedules=tuple(_row(one, now) for one in context.app.schedules.list(next=_NEXT)))
    if not query.schedule:
        return page
    try:
        return replace(page, opened=_row(context.app.schedules.get(query.schedule, next=_NEXT_OPENED), now))
    except UnknownSchedule:
        return replace(page, unknown=True)


def _row(schedule: Schedule, now: float) -> ScheduleRow:
    upcoming = tuple(one.timestamp() for one in schedule.next)
    return ScheduleRow(
        id=schedule.id,
        when=when_text(schedule.when),
        task=schedule.task,
        state=schedule.state,
        declared=schedule.declared,
        paused=pause_row(schedule.paused),
        next=upcoming,
        late_seconds=max(0.0, now - upcoming[0]) if upcoming and schedule.state == "active" else 0.0,
        last=None if schedule.last is None else schedule.last.timestamp(),
        last_sent=None if schedule.last_sent is None else schedule.last_sent.timestamp(),
        running=schedule.running,
        waiting=None if schedule.waiting is None else schedule.waiting.timestamp(),
        sent=schedule.sent,
        dropped=schedule.dropped,
        skipped=schedule.skipped,
        failures=schedule.failures,
        problem=schedule.problem,
        options={name: _option(value) for name, value in schedule.options.items() if value not in (None, "", 0, 0.0)},
    )


def when_text(when: ScheduleSpec) -> str:
    """When a schedule ticks, in a few words."""
    parameters = when.parameters
    if when.kind == "cron" and {"cron", "tz"} <= parameters.keys():
        return f"{parameters['cron']} ({parameters['tz']})"
    if when.kind == "every" and "seconds" in parameters:
        return f"every {parameters['seconds']:g} s"
    if when.kind == "at" and "instants" in parameters:
        return f"at {len(parameters['instants'])} instants"
    return f"{when.kind} {dict(parameters)}" if parameters else when.kind


def _option(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
