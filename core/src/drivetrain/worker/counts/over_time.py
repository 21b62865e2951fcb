"""Counts over time, as operators read them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from drivetrain.worker.counts.stored import MINUTE, Step, start_of
from drivetrain.worker.counts.task_counts import NO_COUNTS, CountedTasks, TaskCounts, added_up

__all__ = ["CountsOverTime", "CountsPoint", "Range", "chosen_range"]


class CountsPoint(Struct, frozen=True, kw_only=True):
    """The counts of one step of time.

    Attributes:
        start: when the step starts, in Unix seconds.
        tasks: the counts, one entry for each task and queue; empty: nothing was counted.
    """

    start: int
    tasks: Sequence[CountedTasks] = ()

    @property
    def total(self) -> TaskCounts:
        """The counts of all tasks, added up."""
        return added_up(one.counts for one in self.tasks)


class CountsOverTime(Struct, frozen=True, kw_only=True):
    """What all workers have counted in a range of time. Workers count by their clocks, and report every five seconds.

    Attributes:
        since: the start of the first step, in Unix seconds.
        until: the end of the last step, in Unix seconds.
        step_seconds: the length of a step.
        points: a point for each step, in order.
    """

    since: int
    until: int
    step_seconds: int
    points: Sequence[CountsPoint]

    @property
    def total(self) -> TaskCounts:
        """The counts of all tasks and steps, added up."""
        return added_up(point.total for point in self.points)

    def by_task(self) -> Mapping[str, TaskCounts]:
        """The counts by the name of the task, over all steps and queues. "": names that only messages know."""
        return self._added_up(lambda one: one.task)

    def by_queue(self) -> Mapping[str, TaskCounts]:
        """The counts by queue, over all steps and tasks."""
        return self._added_up(lambda one: one.queue)

    def _added_up(self, name: Callable[[CountedTasks], str]) -> Mapping[str, TaskCounts]:
        found: dict[str, TaskCounts] = {}
        for point in self.points:
            for one in point.tasks:
                found[name(one)] = found.get(name(one), NO_COUNTS).plus(one.counts)
        return found


class Range(Struct, frozen=True):
    """Which counts to read.

    Attributes:
        since: the start of the first step, in Unix seconds.
        until: the end of the last step, in Unix seconds.
        step_seconds: the length of a step; a multiple of `stored`.
        stored: the step whose stored values are read.
    """

    since: int
    until: int
    step_seconds: int
    stored: Step


def chosen_range(steps: Sequence[Step], *, since: float, until: float, step_seconds: float | None, now: float) -> Range:
    """The range to read: as exact as asked, as far as values of that step are still stored.

    Args:
        steps: the steps whose values are stored, the shortest first.
        since: the earliest time, in Unix seconds; what is not kept any more is left out.
        until: the latest time, in Unix seconds; at most the end of the present step.
        step_seconds: the length of a step; it is rounded up to a multiple of a stored step. None: the shortest.
        now: the present time, in Unix seconds.
    """
    asked = max(step_seconds or 0.0, MINUTE)
    covering = [step for step in steps if since >= now - step.kept_seconds] or [steps[-1]]
    stored = ([step for step in covering if step.seconds <= asked] or covering[:1])[-1]
    length = math.ceil(asked / stored.seconds) * stored.seconds
    first = start_of(max(since, now - stored.kept_seconds), length)
    last = math.ceil(min(until, now) / length) * length
    return Range(first, max(last, first + length), length, stored)
