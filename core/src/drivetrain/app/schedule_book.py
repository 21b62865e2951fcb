"""The schedules that an app declares, in code and in its settings, and their definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypedDict, get_args

from attrs import frozen

from drivetrain.app.settings import Settings
from drivetrain.contract import ConfigurationError, InvalidSignature, ScheduleSpec, Timetable
from drivetrain.worker.schedules.state import Definition, Misfire, Overlap
from drivetrain.workflow.frames import Call, Fork, Frames
from drivetrain.workflow.plan import TaskCatalog, plan
from drivetrain.workflow.signature import Workflow
from drivetrain.workflow.wire import dump_frames

__all__ = ["Declaration", "ScheduleBook", "ScheduleOptions", "check_declaration", "define"]

_LONGEST_ID = 200
#: The shortest redelivery window with which schedules work, in seconds: the record of a tick's task shows that it ran.
_SHORTEST_WINDOW_SECONDS = 60.0
_DEFAULT_CATCH_UP_SECONDS = 3600.0
_MOST_CAUGHT_UP = 10_000


class ScheduleOptions(TypedDict, total=False):
    """The options of a schedule. Durations are seconds or a timedelta; times must have a zone."""

    #: What happens at a tick while the workflow of the tick before has not ended: ``allow`` (the default) sends it all
    #: the same; ``skip`` does not send it; ``queue_one`` sends it when that workflow ends, and of several the newest;
    #: ``cancel_previous`` cancels that workflow.
    overlap: Overlap
    #: Which ticks are sent late, when no scheduler ran at their time: ``latest`` (the default), ``skip`` or ``all``.
    misfire: Misfire
    #: How late a tick may be sent; by default an hour. At most the setting ``redelivery_window_seconds``.
    catch_up: float | timedelta
    #: The most ticks that are sent late at once, with the misfire ``all``; by default 100.
    catch_up_limit: int
    #: Delays the ticks, so that many schedules do not tick at once: each by its own part of this time.
    jitter: float | timedelta
    #: No tick before this time.
    start: datetime | None
    #: No tick after this time.
    end: datetime | None
    #: The most ticks.
    max_runs: int | None
    #: Whether the schedule pauses when a workflow of it fails.
    pause_on_failure: bool
    #: For operators.
    note: str


@frozen
class Declaration:
    """A schedule as it was declared; `define` turns it into what is stored."""

    id: str
    workflow: Workflow[Any]
    when: ScheduleSpec
    options: ScheduleOptions


class ScheduleBook:
    """The declared schedules of an app. Thread-safe.

    Args:
        settings: the settings of the app.
        timetable: makes a timetable.
    """

    def __init__(self, settings: Settings, timetable: Callable[[ScheduleSpec], Timetable]) -> None:
        self._settings = settings
        self._timetable = timetable
        self._declared: dict[str, Declaration] = {}

    def __len__(self) -> int:
        return len(self._declared)

    def declare(self, declaration: Declaration) -> None:
        """Declare a schedule.

        Raises:
            ConfigurationError: its id is declared already, or an option or a parameter is wrong.
        """
        check_declaration(declaration, self._settings, self._timetable)
        if declaration.id in self._declared:
            raise ConfigurationError(f"the schedule {declaration.id!r} is declared twice; give each its own id")
        self._declared[declaration.id] = declaration

    def definitions(self, catalog: TaskCatalog) -> list[Definition]:
        """The definitions of all declared schedules.

        Raises:
            InvalidSignature: a workflow is wrong (InvalidArguments: its arguments do not fit).
        """
        return [define(declaration, self._settings, catalog) for declaration in list(self._declared.values())]


def check_declaration(
    declaration: Declaration, settings: Settings, timetable: Callable[[ScheduleSpec], Timetable]
) -> None:
    """Check everything but the workflow.

    Raises:
        ConfigurationError: ``faults`` names all that is wrong.
    """
    faults = list(_faults(declaration, settings))
    if not faults:
        try:
            timetable(declaration.when)
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError(f"the schedule {declaration.id!r} is wrong:", faults)


def define(declaration: Declaration, settings: Settings, catalog: TaskCatalog) -> Definition:
    """The definition of a declaration.

    Args:
        declaration: a checked declaration.
        settings: the settings of the app.
        catalog: the tasks of the app.

    Raises:
        InvalidSignature: the workflow is wrong, or has an id or a time of its own.
    """
    numbers = count()
    frames = plan(declaration.workflow, catalog, lambda: str(next(numbers)))
    made = {str(number) for number in range(next(numbers))}
    for part in _parts([frames]):
        _check_part(declaration.id, part, made)
    options = declaration.options
    return Definition(
        id=declaration.id,
        kind=declaration.when.kind,
        parameters=dict(declaration.when.parameters),
        frames=dump_frames(frames),
        task=", ".join(dict.fromkeys(part.task for part in _parts([frames]) if isinstance(part, Call))),
        overlap=options.get("overlap", "allow"),
        misfire=options.get("misfire", "latest"),
        catch_up=_catch_up(options, settings),
        catch_up_limit=options.get("catch_up_limit", 100),
        jitter=_seconds(options.get("jitter", 0.0)),
        start=_timestamp(options.get("start")),
        end=_timestamp(options.get("end")),
        max_runs=options.get("max_runs"),
        pause_on_failure=options.get("pause_on_failure", False),
        note=options.get("note", ""),
    )


def _parts(workflows: Iterable[Frames]) -> Iterable[Call | Fork]:
    """All tasks and groups, callbacks last."""
    callbacks: list[Frames] = []
    for frames in workflows:
        for frame in frames:
            if isinstance(frame, Fork):
                yield frame
                yield from _parts(frame.branches)
            elif isinstance(frame, Call):
                yield frame
                callbacks += (*frame.on_success, *frame.on_error, *frame.workflow_on_error)
    if callbacks:
        yield from _parts(callbacks)


def _check_part(schedule_id: str, part: Call | Fork, made: set[str]) -> None:
    own_id = part.id if isinstance(part, Call) else part.group_id
    if own_id not in made:
        raise InvalidSignature(
            f"the schedule {schedule_id!r} sends the id {own_id!r}, which would run once only; leave task_id and "
            "group_id out, since each tick has ids of its own"
        )
    if isinstance(part, Call) and (part.eta is not None or part.expires_at is not None):
        raise InvalidSignature(
            f"the schedule {schedule_id!r} sends {part.task} with a fixed time; use delay= and expires= in seconds, "
            "which count from each tick"
        )


def _faults(declaration: Declaration, settings: Settings) -> Iterable[str]:
    options: Mapping[str, Any] = declaration.options
    if not _is_id(declaration.id):
        yield f"its id must have 1 to {_LONGEST_ID} printable characters, and no space at either end"
    yield from _faults_of_types(declaration.workflow, declaration.when)
    if unknown := sorted(options.keys() - ScheduleOptions.__annotations__.keys()):
        yield f"unknown option(s) {', '.join(unknown)}; use {', '.join(ScheduleOptions.__annotations__)}"
    yield from _faults_of_values(options)
    window = settings.redelivery_window_seconds
    if window < _SHORTEST_WINDOW_SECONDS:
        yield (
            f"redelivery_window_seconds is {window:g}; schedules need {_SHORTEST_WINDOW_SECONDS:g} or more, since the "
            "record of a task shows that its tick was sent"
        )
    elif (given := options.get("catch_up")) is not None and _is_duration(given) and _seconds(given) > window:
        yield (
            f"catch_up is {_seconds(given):g} s, and the records of its tasks are kept for {window:g} s only; use "
            "less, or set redelivery_window_seconds to as much"
        )


def _faults_of_types(workflow: object, when: object) -> Iterable[str]:
    if not isinstance(workflow, Workflow):
        hint = "; write task.si(…), not task" if hasattr(workflow, "si") else ""
        yield f"it sends {workflow!r}, which must be a signature, a chain or a group{hint}"
    if not isinstance(when, ScheduleSpec):
        yield f"its time is {when!r}; use cron(…), every(…), at(…) or a ScheduleSpec"


def _faults_of_values(options: Mapping[str, Any]) -> Iterable[str]:
    for name, choices in (("overlap", get_args(Overlap)), ("misfire", get_args(Misfire))):
        if name in options and options[name] not in choices:
            yield f"{name} is {options[name]!r}; use one of {', '.join(choices)}"
    for name in ("catch_up", "jitter"):
        if name in options and not _is_duration(options[name]):
            yield f"{name} is {options[name]!r}; it must be seconds or a timedelta, 0 or more"
    for name in ("start", "end"):
        value = options.get(name)
        if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
            yield f"{name} is {value!r}; it must be a datetime with a time zone"
    for name, most in (("catch_up_limit", _MOST_CAUGHT_UP), ("max_runs", None)):
        value = options.get(name)
        if value is not None and (type(value) is not int or value < 1 or (most is not None and value > most)):
            yield f"{name} is {value!r}; it must be a whole number, 1 or more" + (
                f", and at most {most}" if most else ""
            )
    if not isinstance(options.get("pause_on_failure", False), bool):
        yield f"pause_on_failure is {options['pause_on_failure']!r}; it must be True or False"
    if not isinstance(options.get("note", ""), str):
        yield f"note is {options['note']!r}; it must be a text"


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable() and value == value.strip()


def _is_duration(value: object) -> bool:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < float("inf")


def _catch_up(options: ScheduleOptions, settings: Settings) -> float:
    default = min(_DEFAULT_CATCH_UP_SECONDS, settings.redelivery_window_seconds)
    return _seconds(options.get("catch_up", default))


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _timestamp(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()
