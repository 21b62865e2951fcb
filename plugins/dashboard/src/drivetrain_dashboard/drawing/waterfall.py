"""The waterfall of a workflow: when each of its tasks waited and ran. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

from drivetrain.app.workflow_tree import WorkflowStep, WorkflowTree
from drivetrain.contract import State
from drivetrain_dashboard.drawing.spans import Span, SpanRow, span_chart
from drivetrain_dashboard.drawing.states import ended_at, state_class, state_of, state_word
from drivetrain_dashboard.drawing.svg import element
from drivetrain_dashboard.drawing.words import amount, duration

__all__ = ["waterfall", "waterfall_rows"]

#: The largest number of rows. What began last is left out.
_MOST_ROWS = 200


def waterfall(tree: WorkflowTree, link: Callable[[str], str], now: float) -> Markup:
    """A row for each task and group of a workflow, in the order in which they follow one another.

    Args:
        tree: the workflow.
        link: the address of the page of a task, by its id.
        now: the present time, in Unix seconds: until then run the tasks that have not ended.
    """
    rows = waterfall_rows(tree, link, now)
    drawing = span_chart(rows[:_MOST_ROWS], "When each task waited and ran")
    if len(rows) <= _MOST_ROWS:
        return drawing
    return drawing + element("p", f"{amount(len(rows) - _MOST_ROWS, 'more task')} not drawn.", class_="note")


def waterfall_rows(tree: WorkflowTree, link: Callable[[str], str], now: float) -> Sequence[SpanRow]:
    """The rows of `waterfall`, all of them."""
    return [_row(step, depth, link, now) for step, depth in _steps(tree)]


def _steps(tree: WorkflowTree) -> Iterator[tuple[WorkflowStep, int]]:
    """All steps in the order of their execution, each with its depth."""
    remaining = [(step, 0) for step in reversed(tree.steps)]
    while remaining:
        step, depth = remaining.pop()
        yield step, depth
        below = [one for branch in step.branches for one in branch.steps]
        below += [one for callback in (*step.on_success, *step.on_error) for one in callback]
        remaining += [(one, depth + 1) for one in reversed(below)]


def _row(step: WorkflowStep, depth: int, link: Callable[[str], str], now: float) -> SpanRow:
    name = f"group of {step.members}" if step.group else step.task or step.id
    return SpanRow(
        name=name,
        spans=tuple(_spans(step, now)),
        note=state_word(step),
        link=link(step.id),
        depth=depth,
    )


def _spans(step: WorkflowStep, now: float) -> Iterator[Span]:
    """From sending to the start, and from the start to the end. A retry counts as a part of the run."""
    if not step.times:
        return
    sent, started = min(step.times.values()), step.times.get(State.STARTED.value)
    end = ended_at(step)
    last = now if end is None else end
    until = last if started is None else min(started, last)
    if until > sent:
        waited = "waits for the step before it" if step.waits else "waited" if started or end else "waits"
        yield Span(start=sent, end=until, kind="waiting", title=f"{waited}: {duration(until - sent)}")
    if started is not None and last >= started:
        yield Span(
            start=started,
            end=last,
            kind=state_class(state_of(step)),
            title=f"{state_word(step)}: {duration(last - started)}",
        )
