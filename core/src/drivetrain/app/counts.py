"""Reading counts over time from the backend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from drivetrain.contract import Backend, ConfigurationError, NotSupported, chunks
from drivetrain.worker.counts.folder import read_folded, stored_minutes
from drivetrain.worker.counts.over_time import CountsOverTime, CountsPoint, Range, chosen_range
from drivetrain.worker.counts.stored import (
    FoldedCounts,
    MinuteCounts,
    counted_tasks,
    folded_key,
    not_folded,
    start_of,
    steps,
)
from drivetrain.worker.counts.task_counts import CountedTasks

__all__ = ["counts_range", "read_counts"]

#: The length of the range where its start is not given, in seconds.
_DEFAULT_SECONDS = 3600.0

#: How many folded values are read at once.
_AT_ONCE = 50


def counts_range(
    retention_seconds: float, now: float, *, since: datetime | None, until: datetime | None, step: timedelta | None
) -> Range:
    """The range to read; see `Operations.counts`. Pure.

    Args:
        retention_seconds: how long counts are kept.
        now: the present time, in Unix seconds.
        since: the start of the range; None: an hour before its end.
        until: the end of the range; None: now.
        step: the length of a step; None: the shortest that is stored.

    Raises:
        ConfigurationError: a time has no time zone, or ``since`` is not before ``until``.
        NotSupported: no counts are kept.
    """
    if not retention_seconds:
        raise NotSupported("no counts over time are kept: the setting counts_retention_seconds is 0; set it to more")
    last = now if until is None else _unix_seconds("until", until)
    first = last - _DEFAULT_SECONDS if since is None else _unix_seconds("since", since)
    if first >= last:
        raise ConfigurationError(f"since is {since}, which is not before the end of the range: {until or 'now'}")
    seconds = None if step is None else step.total_seconds()
    return chosen_range(steps(retention_seconds), since=first, until=last, step_seconds=seconds, now=now)


def _unix_seconds(name: str, moment: datetime) -> float:
    if moment.utcoffset() is None:
        raise ConfigurationError(f"{name} is {moment!r}, which has no time zone; give an aware datetime")
    return moment.timestamp()


def read_counts(backend: Backend, within: Range, chosen: Callable[[CountedTasks], bool]) -> CountsOverTime:
    """The counts in a range.

    Args:
        backend: the backend.
        within: the range.
        chosen: whether a task and queue count.

    Raises:
        ServiceError: the backend could not be reached.
    """
    tasks = defaultdict[int, list[CountedTasks]](list)
    for start, some in _stored(backend, within):
        tasks[start_of(start, within.step_seconds)] += [one for one in some if chosen(one)]
    points = [
        CountsPoint(start=start, tasks=counted_tasks([tasks.get(start, ())]))
        for start in range(within.since, within.until, within.step_seconds)
    ]
    return CountsOverTime(since=within.since, until=within.until, step_seconds=within.step_seconds, points=points)


def _stored(backend: Backend, within: Range) -> Iterator[tuple[int, list[CountedTasks]]]:
    """The stored counts in a range, each with the start of its stored step."""
    step = within.stored.seconds
    # The values of workers first: what is folded while this reads is then found twice, and counted once.
    minutes = defaultdict[int, list[MinuteCounts]](list)
    for one in stored_minutes(backend):
        minutes[start_of(one.counts.start, step)].append(one.counts)
    for starts in chunks(range(within.since, within.until, step), _AT_ONCE):
        keys = [folded_key(start, step) for start in starts]
        for start, key, stored in zip(starts, keys, backend.read_values(keys), strict=True):
            folded = read_folded(key, stored) or FoldedCounts()
            new = not_folded(folded, minutes[start], start)
            yield start, [*folded.tasks, *(one for minute in new for one in minute.tasks)]
