"""The timeline of a task: how long it was in each state. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from markupsafe import Markup

from drivetrain_dashboard.drawing.spans import Span, SpanRow, span_chart
from drivetrain_dashboard.drawing.states import SIGNS, TERMINAL, state_class
from drivetrain_dashboard.drawing.words import duration

__all__ = ["TaskTimeline", "TimelineChange", "task_timeline", "timeline_rows"]


@frozen(kw_only=True)
class TimelineChange:
    """The last change of a task to one state.

    Attributes:
        state: the name of the state.
        at: when, in Unix seconds.
        worker: the worker that recorded it; empty: a sender.
    """

    state: str
    at: float
    worker: str = ""


@frozen(kw_only=True)
class TaskTimeline:
    """What is known of a task over time.

    Attributes:
        changes: the last change to each state that the task was in.
        attempt: the present attempt; the first is 0.
        now: the present time, in Unix seconds.
    """

    changes: Sequence[TimelineChange]
    attempt: int = 0
    now: float


def task_timeline(timeline: TaskTimeline) -> Markup:
    """A row for each state, from the change to it until the next change.

    A record has the last change to each state: of several attempts, the drawing shows the last one in full.
    """
    attempt = f", attempt {timeline.attempt + 1}" if timeline.attempt else ""
    return span_chart(timeline_rows(timeline), f"How long the task was in each state{attempt}")


def timeline_rows(timeline: TaskTimeline) -> list[SpanRow]:
    """The rows of `task_timeline`."""
    order = list(SIGNS)
    known = [change for change in timeline.changes if change.state in SIGNS]
    changes = sorted(known, key=lambda change: (change.at, order.index(change.state)))
    if not changes:
        return []
    last = changes[-1]
    end = last.at if last.state in TERMINAL else max(timeline.now, last.at)
    ends = [*(change.at for change in changes[1:]), end]
    return [_row(timeline, change, until, change is last) for change, until in zip(changes, ends, strict=True)]


def _row(timeline: TaskTimeline, change: TimelineChange, until: float, last: bool) -> SpanRow:
    lasted = duration(max(until - change.at, 0.0))
    ended = change.state in TERMINAL
    note = "ended" if ended else f"{lasted} so far" if last else lasted
    by = f" by {change.worker}" if change.worker else ""
    name = f"{SIGNS[change.state]} {change.state}"
    if change.state == "STARTED" and timeline.attempt:
        name += f" (attempt {timeline.attempt + 1})"
    span = Span(
        start=change.at,
        end=max(until, change.at),
        kind="waiting" if change.state == "PENDING" else state_class(change.state),
        title=f"{change.state}{by}: {note}",
    )
    return SpanRow(name=name, spans=(span,), note=note)
