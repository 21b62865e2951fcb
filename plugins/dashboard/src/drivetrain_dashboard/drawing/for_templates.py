"""What templates use to write and draw the values of view-models. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from markupsafe import Markup

from drivetrain_dashboard.drawing.sparkline import sparkline
from drivetrain_dashboard.drawing.states import SIGNS, state_class
from drivetrain_dashboard.drawing.time_chart import Series, TimeChart, time_chart
from drivetrain_dashboard.drawing.timeline import TaskTimeline, TimelineChange, task_timeline
from drivetrain_dashboard.drawing.waterfall import waterfall
from drivetrain_dashboard.drawing.words import UNKNOWN, age, duration, exact_time, iso_time, number
from drivetrain_dashboard.drawing.workflow_graph import workflow_graph
from drivetrain_dashboard.views.counts import Counted
from drivetrain_dashboard.views.counts import Series as CountsSeries
from drivetrain_dashboard.views.task import TaskPage
from drivetrain_dashboard.views.words import joined_words
from drivetrain_dashboard.views.workflow import WorkflowPage

__all__ = [
    "FILTERS",
    "GLOBALS",
    "Link",
    "ended_chart",
    "graph_of",
    "sparkline_of",
    "time_taken_chart",
    "timeline_of",
    "total",
    "waterfall_of",
]


class Link(Protocol):
    """Makes the address of a page."""

    def __call__(self, name: str, /, **parameters: object) -> str:
        """The address of a page with these parameters."""
        ...


def ended_chart(series: CountsSeries, title: str) -> Markup:
    """A chart of how many tasks succeeded, failed and were retried in each step."""
    return _chart(
        series,
        title,
        "count",
        ("succeeded", 1, lambda one: one.succeeded),
        ("failed", 2, lambda one: one.failed),
        ("retried", 3, lambda one: one.retried),
    )


def time_taken_chart(series: CountsSeries, title: str) -> Markup:
    """A chart of how long tasks waited and ran in each step: the median, and what 95 of 100 did not exceed."""
    return _chart(
        series,
        title,
        "seconds",
        ("waited, median", 4, lambda one: one.waiting_p50),
        ("waited, 95 of 100", 6, lambda one: one.waiting_p95),
        ("ran, median", 1, lambda one: one.run_p50),
        ("ran, 95 of 100", 5, lambda one: one.run_p95),
    )


def sparkline_of(series: CountsSeries, count: str) -> Markup:
    """A small line of one count in each step.

    Args:
        series: the counts.
        count: the name of the count: ``ended``, ``failed``.
    """
    values = [float(getattr(point.counts, count)) for point in series.points]
    style = 2 if count == "failed" else 1
    return sparkline(values, f"{count} in each {duration(series.step_seconds)}", style=style)


def timeline_of(page: TaskPage) -> Markup:
    """How long a task was in each state."""
    changes = [TimelineChange(state=one.what, at=one.at, worker=one.worker) for one in page.timeline]
    return task_timeline(TaskTimeline(changes=changes, attempt=page.attempt, now=page.at))


def graph_of(page: WorkflowPage, link: Link) -> Markup:
    """The graph of the workflow of a page; nothing where there is none."""
    if page.tree is None:
        return Markup("")
    return workflow_graph(page.tree, lambda task_id: link("task", id=task_id), asked=page.task_id)


def waterfall_of(page: WorkflowPage, link: Link) -> Markup:
    """The waterfall of the workflow of a page; nothing where there is none."""
    return Markup("") if page.tree is None else waterfall(page.tree, lambda task_id: link("task", id=task_id), page.at)


def total(values: Iterable[float | None]) -> str:
    """The sum of the known values as text; `UNKNOWN` if none is known."""
    known = [value for value in values if value is not None]
    return number(sum(known)) if known else UNKNOWN


def _chart(series: CountsSeries, title: str, unit: Any, *lines: tuple[str, int, Callable[[Counted], Any]]) -> Markup:
    return time_chart(
        TimeChart(
            title=title,
            since=series.since,
            step_seconds=series.step_seconds,
            unit=unit,
            series=[
                Series(name=name, style=style, values=[value(point.counts) for point in series.points])
                for name, style, value in lines
            ],
        )
    )


def _state_sign(name: str) -> str:
    return SIGNS.get(name, "?")


#: For `jinja2.Environment.filters`.
FILTERS: Mapping[str, Callable[..., Any]] = {
    "age": age,
    "duration": duration,
    "exact_time": exact_time,
    "is_state": SIGNS.__contains__,
    "iso_time": iso_time,
    "number": number,
    "state_class": state_class,
    "state_sign": _state_sign,
    "total": total,
}

#: What can follow each search word, for `tasks.html`.
_SEARCH_HELP: Mapping[str, str] = {
    "state": "a state, or several with commas: failed, retry,started",
    "task": "the name of the task; * stands for any text",
    "queue": "the queue; * stands for any text",
    "worker": "the worker that started it last; * stands for any text",
    "workflow": "the id of the first task or group of the workflow",
    "since": "its state changed then or later: 90s, 30m, 2h, 7d, or 2026-11-30T12:00",
    "id": "the id of the task; it is looked up, whatever the backend lists",
    "text": "a part of the id, the name or the failure",
}

#: For `jinja2.Environment.globals`.
GLOBALS: Mapping[str, Any] = {
    "ended_chart": ended_chart,
    "graph_of": graph_of,
    "search": joined_words,
    "search_help": _SEARCH_HELP,
    "sparkline_of": sparkline_of,
    "time_taken_chart": time_taken_chart,
    "timeline_of": timeline_of,
    "waterfall_of": waterfall_of,
}
