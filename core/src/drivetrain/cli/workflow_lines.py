"""The lines in which the tree of a workflow is drawn. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivetrain.app.workflow_tree import Presence, WorkflowStep, WorkflowTree
from drivetrain.cli.output import one_line, timestamp
from drivetrain.contract import State

__all__ = ["tree_lines"]

_FORK, _LAST = "├─ ", "└─ "
_PASS, _BLANK = "│  ", "   "


def tree_lines(tree: WorkflowTree, *, asked: str = "") -> Iterator[str]:
    """The tree of a workflow, a line for each task and group.

    Args:
        tree: the tree.
        asked: the id whose line is marked; empty: none is.
    """
    yield f"workflow {tree.id}"
    # What remains to be drawn, the next one last: the label of each step, the step, the prefix, whether it is the last.
    remaining = list(reversed(_entries([("", step) for step in tree.steps], "")))
    while remaining:
        label, item, prefix, last = remaining.pop()
        below = prefix + (_BLANK if last else _PASS)
        if isinstance(item, str):
            yield f"{prefix}{_LAST if last else _FORK}{item}"
            continue
        mark = "  <" if item.id == asked else ""
        yield f"{prefix}{_LAST if last else _FORK}{label}{_described(item)}{mark}"
        remaining += reversed(_entries(_below(item), below))


def _entries(
    items: Sequence[tuple[str, WorkflowStep | str]], prefix: str
) -> list[tuple[str, WorkflowStep | str, str, bool]]:
    return [(label, item, prefix, number == len(items)) for number, (label, item) in enumerate(items, 1)]


def _below(step: WorkflowStep) -> list[tuple[str, WorkflowStep | str]]:
    """What is drawn below a step: members, a line for those that are hidden, its replacement, and callbacks."""
    items: list[tuple[str, WorkflowStep | str]] = []
    for branch in step.branches:
        for number, one in enumerate(branch.steps):
            items.append((f"{branch.index}: " if number == 0 else f"{branch.index}, then: ", one))
    if step.hidden:
        items.append(("", f"{step.hidden} more members"))
    items += [("replaced by: " if number == 0 else "then: ", one) for number, one in enumerate(step.replacement)]
    for what, callbacks in (("on success: ", step.on_success), ("on error: ", step.on_error)):
        items += [(what if number == 0 else "then: ", one) for steps in callbacks for number, one in enumerate(steps)]
    return items


def _described(step: WorkflowStep) -> str:
    if step.group:
        return "  ".join(["group", step.id, _state(step), *_counts(step)])
    return "  ".join(filter(None, [step.task, step.id, _state(step), *_details(step)]))


def _state(step: WorkflowStep) -> str:
    if step.presence is not Presence.RECORDED or step.state is None:
        return step.presence.value
    return f"{step.state.value}, waits" if step.waits else step.state.value


def _counts(step: WorkflowStep) -> list[str]:
    states = ", ".join(f"{count} {state}" for state, count in step.states.items())
    counts = [f"{step.done} of {step.members} done"]
    return [*counts, states] if len(step.states) > 1 else counts


def _details(step: WorkflowStep) -> list[str]:
    details = []
    if step.attempt:
        details.append(f"attempt {step.attempt}")
    if step.starts > 1:
        details.append(f"started {step.starts} times")
    if step.queue and (step.state is None or not step.state.terminal):
        details.append(f"queue {one_line(step.queue)}")
    if step.worker and not step.waits:
        details.append(f"worker {one_line(step.worker)}")
    details += _times(step)
    if step.error:
        details.append(one_line(step.error))
    return details


def _times(step: WorkflowStep) -> list[str]:
    if step.state is None:
        return []
    at = step.times.get(step.state.value)
    began = step.times.get(State.STARTED.value)
    times = [] if at is None else [str(timestamp(at))]
    if step.state.terminal and at is not None and began is not None and began <= at:
        times.append(f"after {at - began:.3f} s")
    return times
