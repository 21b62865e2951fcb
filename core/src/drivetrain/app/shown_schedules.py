"""Schedules as operators see them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from attrs import field, frozen

from drivetrain.app.schedule_book import ScheduleOptions
from drivetrain.contract import DrivetrainError, ScheduleSpec, Timetable
from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules.entries import remaining_runs
from drivetrain.worker.schedules.instants import Instants
from drivetrain.worker.schedules.outcomes import last_id
from drivetrain.worker.schedules.preparing import instants_of
from drivetrain.worker.schedules.state import Definition, Entry

__all__ = [
    "BackfillReport",
    "RemovedSchedule",
    "Schedule",
    "UnknownSchedule",
    "running",
    "shown",
    "time_of",
    "times_of",
]

#: The options that a definition holds.
_OPTIONS = tuple(ScheduleOptions.__annotations__)


class UnknownSchedule(DrivetrainError):
    """There is no schedule of this id.

    Attributes:
        schedule_id: the id.
    """

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is no schedule {schedule_id!r}; app.schedules.list() has those that are stored")
        self.schedule_id = schedule_id


@frozen(kw_only=True)
class Schedule:
    """A schedule as it is stored. All times are aware, in UTC.

    Attributes:
        id: its id.
        when: when it ticks.
        task: the names of the tasks that it sends.
        state: whether it ticks; ``finished``: it has no more ticks; ``unreadable``: this process cannot tell, and
            `problem` says why.
        declared: whether code or settings declare it; otherwise it was put at run time.
        paused: why it is paused; None: it is not.
        next: its next ticks, without jitter; none while it does not tick.
        last: the instant of the last tick that was sent; None: none was.
        last_sent: when that was sent.
        running: the ids of the last tasks of its workflows that have not ended, as far as schedulers know.
        waiting: the tick that waits for the end of the workflow before; None: none does.
        sent: how many ticks were sent.
        dropped: how many ticks were not sent because they would have been too late, or were refused. At most 100 are
            counted at once.
        skipped: how many ticks were not sent because the workflow of the tick before had not ended.
        failures: how many of its workflows have failed since the last one that succeeded.
        problem: why its last tick could not be sent, or why it cannot be read; empty: nothing is wrong.
        options: its options, durations in seconds.
        tzdata: the version of the time zone database of the scheduler that last looked at it.
    """

    id: str
    when: ScheduleSpec
    task: str
    state: Literal["active", "paused", "orphaned", "finished", "unreadable"]
    declared: bool
    paused: Pause | None
    next: tuple[datetime, ...]
    last: datetime | None
    last_sent: datetime | None
    running: tuple[str, ...]
    waiting: datetime | None
    sent: int
    dropped: int
    skipped: int
    failures: int
    problem: str
    options: Mapping[str, Any] = field(factory=dict)
    tzdata: str = ""


@frozen
class RemovedSchedule:
    """A schedule that was removed: no tick follows.

    Attributes:
        id: its id.
        last: the instant of its last tick; None: it had none.
        running: the ids of the last tasks of its workflows that have not ended, as far as schedulers know. They go on.
    """

    id: str
    last: datetime | None
    running: tuple[str, ...]


@frozen
class BackfillReport:
    """What became of a backfill.

    Attributes:
        sent: the instants of the ticks that were sent.
        known: the instants of the ticks whose tasks were known already. They were not sent again.
    """

    sent: tuple[datetime, ...]
    known: tuple[datetime, ...]


def shown(
    entry: Entry, definition: Definition | None, timetable: Callable[[ScheduleSpec], Timetable], count: int
) -> Schedule:
    """A stored schedule with its next ``count`` ticks; ``definition`` is None where it cannot be read."""
    upcoming: tuple[datetime, ...] = ()
    state: Literal["active", "paused", "orphaned", "finished", "unreadable"]
    problem = entry.problem
    if definition is None:
        state, problem = "unreadable", "its definition is gone, or of another version of drivetrain"
        definition = Definition(id=entry.id, kind="?", parameters={}, frames=[], task="?")
    elif entry.orphaned:
        state = "orphaned"
    elif entry.paused is not None:
        state = "paused"
    else:
        try:
            instants = instants_of(definition, timetable)
            upcoming = _upcoming(entry, definition, instants, count)
            state = "active" if upcoming or count == 0 or entry.waiting is not None else "finished"
        except DrivetrainError as error:
            state, problem = "unreadable", str(error)
    return Schedule(
        id=entry.id,
        when=ScheduleSpec(definition.kind, definition.parameters),
        task=definition.task,
        state=state,
        declared=entry.declared,
        paused=entry.paused,
        next=upcoming,
        last=time_of(entry.last),
        last_sent=time_of(entry.last_sent),
        running=running(entry),
        waiting=time_of(entry.waiting),
        sent=entry.sent,
        dropped=entry.dropped,
        skipped=entry.skipped,
        failures=entry.failures,
        problem=problem,
        options={name: getattr(definition, name) for name in _OPTIONS},
        tzdata=entry.tzdata,
    )


def _upcoming(entry: Entry, definition: Definition, instants: Instants, count: int) -> tuple[datetime, ...]:
    remaining = remaining_runs(entry, definition)
    most = count if remaining is None else min(count, remaining)

    def following() -> Iterator[float]:
        instant = instants.after(entry.cursor)
        while instant is not None:
            yield instant
            instant = instants.after(instant)

    return times_of(list(islice(following(), most)))


def running(entry: Entry) -> tuple[str, ...]:
    """The ids of the last tasks of its workflows that have not ended, as far as schedulers know."""
    return tuple(last_id(entry, sent) for sent in entry.unfinished)


def time_of(seconds: float | None) -> datetime | None:
    """Unix seconds as an aware time in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def times_of(seconds: Sequence[float]) -> tuple[datetime, ...]:
    """Unix seconds as aware times in UTC."""
    return tuple(datetime.fromtimestamp(one, UTC) for one in seconds)
