"""Schedules that settings declare: tables of TOML or YAML, turned into declarations. Pure.

[schedule.close-books]
task = "shop.close_books"
cron = "30 2 * * mon-fri"
tz = "Europe/Paris"
overlap = "skip"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from drivetrain.app.schedule_book import Declaration, ScheduleOptions
from drivetrain.app.schedule_specs import at, cron, every
from drivetrain.contract import ConfigurationError, DrivetrainError, ScheduleSpec
from drivetrain.workflow.signature import Signature

__all__ = ["declarations"]

_TASK_KEYS = ("task", "args", "kwargs", "queue", "priority", "expires")
_WHEN_KEYS = ("cron", "every", "at", "timetable")
_MORE_WHEN_KEYS = ("tz", "phase", "parameters")
_OPTION_KEYS = tuple(ScheduleOptions.__annotations__)
_KEYS = (*_TASK_KEYS, *_WHEN_KEYS, *_MORE_WHEN_KEYS, *_OPTION_KEYS)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


class _Wrong(Exception):
    """What is wrong with a table."""


def declarations(tables: Mapping[str, Any], signature: Callable[..., Signature[Any]]) -> Iterator[Declaration]:
    """The declarations of the setting ``schedule``.

    Args:
        tables: a table for each schedule, by its id.
        signature: makes a signature from the name of a task and its arguments.

    Raises:
        ConfigurationError: ``faults`` names all that is wrong with all tables.
    """
    made: list[Declaration] = []
    faults: list[str] = []
    for schedule_id, table in tables.items():
        try:
            made.append(_declaration(str(schedule_id), table, signature))
        except (_Wrong, DrivetrainError, TypeError) as error:
            faults.append(f"schedule.{schedule_id}: {error}")
    if faults:
        raise ConfigurationError("the settings are wrong:", faults)
    yield from made


def _declaration(schedule_id: str, table: Any, signature: Callable[..., Signature[Any]]) -> Declaration:
    if not isinstance(table, Mapping):
        raise _Wrong("it must be a table with a task and a time")
    for key in table:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            raise _Wrong(f"there is no key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    options: Any = {
        key: _time(key, table[key]) if key in {"start", "end"} else table[key] for key in _OPTION_KEYS if key in table
    }
    return Declaration(schedule_id, _signature(table, signature), _when(table), options)


def _signature(table: Mapping[str, Any], signature: Callable[..., Signature[Any]]) -> Signature[Any]:
    task, args, kwargs = table.get("task"), table.get("args", []), table.get("kwargs", {})
    if not isinstance(task, str) or not task:
        raise _Wrong("task is missing; give the name of a task, like 'shop.close_books'")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        raise _Wrong("args must be a list, and kwargs a table")
    made = signature(task, *args, **kwargs)
    options: Any = {key: table[key] for key in ("queue", "priority", "expires") if key in table}
    return made.set(**options) if options else made


def _when(table: Mapping[str, Any]) -> ScheduleSpec:
    given = [key for key in _WHEN_KEYS if key in table]
    if len(given) != 1:
        raise _Wrong(f"it needs exactly one of {', '.join(_WHEN_KEYS)}; it has {', '.join(given) or 'none'}")
    allowed = {"cron": {"tz"}, "every": {"phase"}, "at": set[str](), "timetable": {"parameters"}}[given[0]]
    if alien := [key for key in _MORE_WHEN_KEYS if key in table and key not in allowed]:
        raise _Wrong(f"{alien[0]} does not belong to {given[0]}")
    value = table[given[0]]
    if given[0] == "cron":
        return cron(value, tz=table.get("tz", "UTC"))
    if given[0] == "every":
        return _every(value, table.get("phase", 0))
    if given[0] == "at":
        return at([_time("at", one) for one in value] if isinstance(value, list) else [_time("at", value)])
    return ScheduleSpec(value, dict(table.get("parameters", {})))


def _every(value: Any, phase: Any) -> ScheduleSpec:
    if isinstance(value, Mapping):
        if unknown := [key for key in value if key not in _UNITS]:
            raise _Wrong(f"every has {unknown[0]!r}; use {', '.join(_UNITS)}")
        return every(**value, phase=phase)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(f"every is {value!r}; it must be seconds, or a table like {{hours = 1}}")
    return every(seconds=timedelta(seconds=value).total_seconds(), phase=phase)


def _time(key: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _Wrong(f"{key} is {value!r}; write a time like 2026-05-01T12:00:00+02:00") from None
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise _Wrong(f"{key} is {value}; it needs a zone, like 2026-05-01T12:00:00+02:00")
    return value
