"""How counts over time are stored as versioned values: keys, values, steps, and how values are folded. Pure.

A worker writes its counts of each minute under a key of its own. Later, one of the workers folds the values of all
workers into one value for each step: a minute, ten minutes, and an hour. Values of a longer step are kept for longer. A
folded value names the values that are in it. So folding may be repeated, and may stop at any point: a reader counts
each value once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from drivetrain.worker.counts.task_counts import CountedTasks, TaskCounts
from drivetrain.worker.value_codec import encode

__all__ = [
    "COUNTS_PREFIX",
    "MINUTE",
    "MINUTE_PREFIX",
    "FoldedCounts",
    "MinuteCounts",
    "Step",
    "counted_tasks",
    "folded",
    "folded_key",
    "minute_key",
    "not_folded",
    "start_of",
    "steps",
    "within_bytes",
]

#: The keys of all counts begin with it.
COUNTS_PREFIX = "counts/"
#: The keys of the counts that workers write begin with it.
MINUTE_PREFIX = "counts/minute/"
#: The seconds of a minute: the smallest step.
MINUTE = 60

#: The steps in seconds, and for how long the values of each are kept at most.
_STEPS = ((MINUTE, 3 * 3600.0), (600, 2 * 86400.0), (3600, math.inf))


class Step(Struct, frozen=True):
    """A length of time for which folded values exist.

    Attributes:
        seconds: the length; it divides every longer step.
        kept_seconds: how long a value is kept after its end.
    """

    seconds: int
    kept_seconds: float


class MinuteCounts(Struct, frozen=True, kw_only=True):
    """What one worker has counted in one minute by its clock.

    Attributes:
        start: the start of the minute, in Unix seconds.
        writer: the id of the worker's writer of counts. No other one ever has it, not even after a restart.
        kept_seconds: for how long the value was stored when it was written.
        tasks: the counts.
    """

    start: int
    writer: str
    kept_seconds: float
    tasks: Sequence[CountedTasks]


class FoldedCounts(Struct, frozen=True, kw_only=True):
    """What all workers have counted in one step.

    Attributes:
        minutes: by the id of a writer: which of its minutes are in it, a bit for each minute of the step; the first
            minute is bit 0.
        tasks: the counts.
    """

    minutes: Mapping[str, int] = field(default_factory=dict)
    tasks: Sequence[CountedTasks] = ()


def steps(retention_seconds: float) -> list[Step]:
    """The steps for which folded values are kept, the shortest first."""
    found: list[Step] = []
    for seconds, longest in _STEPS:
        found.append(Step(seconds, min(longest, retention_seconds)))
        if longest >= retention_seconds:
            break
    return found


def start_of(at: float, step_seconds: int) -> int:
    """The start of the step in which a time is, both in Unix seconds."""
    return math.floor(at / step_seconds) * step_seconds


def minute_key(start: int, writer: str) -> str:
    """The key of the counts of a writer in the minute that starts at ``start``."""
    return f"{MINUTE_PREFIX}{start}/{writer}"


def folded_key(start: int, step_seconds: int) -> str:
    """The key of the folded counts of the step that starts at ``start``."""
    return f"{COUNTS_PREFIX}{step_seconds}/{start}"


def not_folded(into: FoldedCounts, minutes: Iterable[MinuteCounts], step_start: int) -> list[MinuteCounts]:
    """Those of ``minutes`` that are not in a folded value, whose step starts at ``step_start``."""
    return [one for one in minutes if not into.minutes.get(one.writer, 0) & _bit(one, step_start)]


def folded(into: FoldedCounts, minutes: Iterable[MinuteCounts], step_start: int) -> FoldedCounts:
    """A folded value with ``minutes`` in it; those that are in it already change nothing."""
    new = not_folded(into, minutes, step_start)
    if not new:
        return into
    bits = dict(into.minutes)
    for one in new:
        bits[one.writer] = bits.get(one.writer, 0) | _bit(one, step_start)
    return FoldedCounts(minutes=bits, tasks=counted_tasks([into.tasks, *(one.tasks for one in new)]))


def counted_tasks(lists: Iterable[Iterable[CountedTasks]]) -> list[CountedTasks]:
    """Several lists as one, with one entry for each task and queue."""
    counts: dict[tuple[str, str], TaskCounts] = {}
    for tasks in lists:
        for one in tasks:
            key, before = (one.task, one.queue), counts.get((one.task, one.queue))
            counts[key] = one.counts if before is None else before.plus(one.counts)
    return [CountedTasks(task, queue, one) for (task, queue), one in counts.items()]


def within_bytes(tasks: Sequence[CountedTasks], most_bytes: int) -> Sequence[CountedTasks]:
    """The same counts in at most ``most_bytes`` when encoded: the rarest tasks are counted together, as "".

    One entry is left whatever its size.
    """
    while len(tasks) > 1 and len(encode(FoldedCounts(tasks=tasks))) > most_bytes:
        ordered = sorted(tasks, key=lambda one: one.counts.received + one.counts.ended, reverse=True)
        named = [one for one in ordered if one.task or one.queue]
        half = len(named) // 2
        rare = [CountedTasks("", "", one.counts) for one in named[half:]]
        tasks = counted_tasks([named[:half], rare, (one for one in ordered if not (one.task or one.queue))])
    return tasks


def _bit(minute: MinuteCounts, step_start: int) -> int:
    return 1 << ((minute.start - step_start) // MINUTE)
