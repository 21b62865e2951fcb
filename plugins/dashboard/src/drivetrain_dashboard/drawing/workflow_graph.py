"""The graph of a workflow: chains go to the right, the members of a group are below one another. Pure.

Each part of the drawing is a `_Block`: it has coordinates of its own, and larger blocks move smaller ones. A block is
entered and left at the height of its axis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from attrs import evolve, frozen
from markupsafe import Markup

from drivetrain.app.workflow_tree import WorkflowBranch, WorkflowStep, WorkflowTree
from drivetrain_dashboard.drawing.scales import Scale
from drivetrain_dashboard.drawing.states import ended_at, state_class, state_of, state_word
from drivetrain_dashboard.drawing.svg import coordinate, element, group_at, joined, label, shortened
from drivetrain_dashboard.drawing.words import amount, duration

__all__ = ["FOLDED_ABOVE", "workflow_graph"]

#: A group with more members is folded: its counts, and the members that need attention.
FOLDED_ABOVE = 50
#: How many members a folded group shows.
_ATTENTION = 8
#: How many steps of a chain are drawn at its start and its end, where it has more than both together.
_CHAIN_ENDS = 12
_TROUBLE = {"FAILURE", "EXPIRED", "CANCELLED", "RETRY"}

_TASK_WIDTH, _TASK_HEIGHT = 190, 46
_GAP, _BELOW, _PADDING, _HEADER, _RAIL = 36, 12, 12, 46, 26
_CHARACTER = 7.0


@frozen
class _Block:
    """A part of the drawing, in coordinates of its own.

    Attributes:
        width, height: its extent.
        axis: the height at which it is entered and left.
        exit: where it is left, from its left border. What hangs below a block can be wider than the block.
        markup: its elements.
        is_note: whether no line leads to it, since it is not a step.
    """

    width: float
    height: float
    axis: float
    exit: float
    markup: Markup
    is_note: bool = False


def workflow_graph(
    tree: WorkflowTree, link: Callable[[str], str], *, asked: str = "", folded_above: int = FOLDED_ABOVE
) -> Markup:
    """The graph of a workflow. Each task and group is a link.

    Args:
        tree: the workflow.
        link: the address of the page of a task, by its id.
        asked: the id of a task that is marked; empty: none is.
        folded_above: a group with more members shows their counts, and those that need attention.
    """
    block = _Drawing(link, asked, folded_above).sequence(tree.steps)
    title = "The graph of the workflow"
    if not tree.steps:
        block = _Block(400, 40, 20, 400, label(200, 24, "Nothing is recorded of this workflow", text_anchor="middle"))
    margin = 6
    drawing = element(
        "svg",
        element("title", title),
        group_at(margin, margin, block.markup),
        width=block.width + 2 * margin,
        height=block.height + 2 * margin,
        viewBox=f"0 0 {coordinate(block.width + 2 * margin)} {coordinate(block.height + 2 * margin)}",
    )
    return element(
        "div", drawing, class_="chart-area graph", role="group", tabindex="0", aria_label=title, id="area-graph"
    )


class _Drawing:
    """Draws one workflow.

    It calls itself for groups and callbacks only, which are nested a hundred levels deep at most.
    """

    def __init__(self, link: Callable[[str], str], asked: str, folded_above: int) -> None:
        self._link = link
        self._asked = asked
        self._folded_above = folded_above

    def sequence(self, steps: Sequence[WorkflowStep]) -> _Block:
        """Steps after one another. Of a long chain, the steps between its ends are folded."""
        if len(steps) > 2 * _CHAIN_ENDS + 1:
            first, folded, last = steps[:_CHAIN_ENDS], steps[_CHAIN_ENDS:-_CHAIN_ENDS], steps[-_CHAIN_ENDS:]
            blocks = [*self._steps(first), _folded_steps(folded), *self._steps(last)]
        else:
            blocks = self._steps(steps)
        return _after_one_another(blocks)

    def _steps(self, steps: Sequence[WorkflowStep]) -> list[_Block]:
        blocks: list[_Block] = []
        for step in steps:
            block = self._group(step) if step.group else self._task(step)
            blocks.append(self._with_callbacks(block, step))
        return blocks

    def _task(self, step: WorkflowStep) -> _Block:
        box = self._box(step, step.task or step.id, _TASK_WIDTH)
        return _Block(_TASK_WIDTH, _TASK_HEIGHT, _TASK_HEIGHT / 2, _TASK_WIDTH, box)

    def _box(self, step: WorkflowStep, name: str, width: float) -> Markup:
        """A box with the name and the state of a step, that links to its page."""
        state = state_of(step)
        mark = " asked" if step.id == self._asked else ""
        title = "\n".join(filter(None, [name, step.id, state_word(step), _timing(step), step.error]))
        second = " · ".join(filter(None, [state_word(step), _timing(step)]))
        fits = int((width - 22) // _CHARACTER)
        return element(
            "a",
            element("title", title),
            element("rect", width=width, height=_TASK_HEIGHT, rx=5, class_=f"box{mark}"),
            element("rect", width=6, height=_TASK_HEIGHT, rx=3, class_=f"state {state_class(state)}"),
            label(14, 19, shortened(name, fits), class_="name"),
            label(14, 37, shortened(second, fits), class_="note"),
            href=self._link(step.id),
            class_="step",
        )

    def _group(self, step: WorkflowStep) -> _Block:
        folded = step.members > self._folded_above
        shown = _needing_attention(step.branches) if folded else step.branches
        members = [self.sequence(branch.steps) for branch in shown]
        hidden = step.members - len(shown)
        if folded or hidden:
            members.insert(0, evolve(_counts(step.states, step.members), is_note=True))
        if hidden:
            members.append(_note(f"{amount(hidden, 'more member')} not drawn"))
        inside = _between_rails(members)
        width = max(inside.width, _TASK_WIDTH) + 2 * _PADDING
        height = _HEADER + 2 * _PADDING + inside.height
        name = f"group: {step.done:,} of {step.members:,} ended"
        parts = [
            element("rect", width=width, height=height, rx=7, class_="group"),
            group_at(_PADDING, _PADDING / 2, self._box(step, name, min(width - 2 * _PADDING, 260))),
            group_at(_PADDING, _HEADER + _PADDING, inside.markup),
        ]
        return _Block(width, height, _HEADER + _PADDING + inside.axis, width, joined(parts))

    def _with_callbacks(self, block: _Block, step: WorkflowStep) -> _Block:
        """A step, with its callbacks below it."""
        parts, width, height = [block.markup], block.width, block.height
        for word, callbacks in (("on success", step.on_success), ("on error", step.on_error)):
            for steps in callbacks:
                below = self.sequence(steps)
                top = height + _BELOW + 8
                axis = top + below.axis
                parts.append(_path(f"M14 {coordinate(block.height)} V{coordinate(axis)} H{_RAIL + 8}", "callback"))
                parts.append(label(20, top - 2, word, class_="note"))
                parts.append(group_at(_RAIL + 8, top, below.markup))
                width, height = max(width, _RAIL + 8 + below.width), top + below.height
        return _Block(width, height, block.axis, block.exit, joined(parts))


def _after_one_another(blocks: Sequence[_Block]) -> _Block:
    axis = max((block.axis for block in blocks), default=0.0)
    parts: list[Markup] = []
    x = exit_at = 0.0
    for number, block in enumerate(blocks):
        if number:
            parts.append(_arrow(exit_at, axis, x + _GAP))
            x += _GAP
        parts.append(group_at(x, axis - block.axis, block.markup))
        exit_at = x + block.exit
        x += block.width
    below = max((block.height - block.axis for block in blocks), default=0.0)
    return _Block(x, axis + below, axis, exit_at, joined(parts))


def _between_rails(blocks: Sequence[_Block]) -> _Block:
    """Blocks below one another, with lines that fork to them and join after them."""
    width = max((block.width for block in blocks), default=0.0)
    parts: list[Markup] = []
    axes: list[float] = []
    top = 0.0
    for block in blocks:
        axis = top + block.axis
        if not block.is_note:
            axes.append(axis)
            parts.append(_path(f"M0 {coordinate(axis)} H{_RAIL}", "edge"))
            end = coordinate(2 * _RAIL + width)
            parts.append(_path(f"M{coordinate(_RAIL + block.exit)} {coordinate(axis)} H{end}", "edge"))
        parts.append(group_at(_RAIL, top, block.markup))
        top += block.height + _BELOW
    height = max(top - _BELOW, 0.0)
    for x in (0.0, 2 * _RAIL + width):
        rail = f"M{coordinate(x)} "
        parts += [_path(f"{rail}{coordinate(one)} V{coordinate(other)}", "edge") for one, other in pairwise(axes)]
    middle = (axes[0] + axes[-1]) / 2 if axes else 0.0
    return _Block(2 * _RAIL + width, height, middle, 2 * _RAIL + width, joined(parts))


def _needing_attention(branches: Sequence[WorkflowBranch]) -> list[WorkflowBranch]:
    """The members of a folded group that are drawn: those in trouble, and others if these are few."""
    troubled = [one for one in branches if any(state_of(step) in _TROUBLE for step in one.steps)]
    seen = {one.index for one in troubled}
    others = [one for one in branches if one.index not in seen]
    chosen = [*troubled, *others][:_ATTENTION]
    return sorted(chosen, key=lambda branch: branch.index)


def _counts(states: Mapping[str, int], members: int) -> _Block:
    """The states of the members of a group: a bar of shares, and the numbers."""
    shares: list[Markup] = []
    x = Scale(0, max(sum(states.values()), 1), 0, _TASK_WIDTH)
    counted = 0
    for state, count in states.items():
        start, end = x.at(counted), x.at(counted + count)
        kind = f"state {state_class(state)}"
        title = element("title", f"{state if state != '?' else 'unknown'}: {count:,}")
        shares.append(element("rect", title, x=start, width=end - start, y=0, height=10, class_=kind))
        counted += count
    words = [f"{count:,} {state if state != '?' else 'unknown'}" for state, count in states.items()]
    lines = words or [amount(members, "member")]
    text = [label(0, 26 + 16 * number, line, class_="note") for number, line in enumerate(lines)]
    height = 20 + 16 * len(lines)
    return _Block(_TASK_WIDTH, height, height / 2, _TASK_WIDTH, joined([*shares, *text]))


def _folded_steps(steps: Sequence[WorkflowStep]) -> _Block:
    return _counts(Counter(state_of(step) or "?" for step in steps), len(steps))


def _note(text: str) -> _Block:
    return _Block(_TASK_WIDTH, 20, 10, _TASK_WIDTH, label(0, 14, text, class_="note"), is_note=True)


def _timing(step: WorkflowStep) -> str:
    """How long a step ran, or which attempt it is at; empty where neither says much."""
    started, end = step.times.get("STARTED"), ended_at(step)
    if started is not None and end is not None and end >= started:
        return duration(end - started)
    return f"attempt {step.attempt + 1}" if step.attempt else ""


def _arrow(start: float, y: float, end: float) -> Markup:
    tip = coordinate(end - 1)
    line = f"M{coordinate(start)} {coordinate(y)} H{tip}"
    head = (
        f"M{coordinate(end - 7)} {coordinate(y - 4)} L{tip} {coordinate(y)} L{coordinate(end - 7)} {coordinate(y + 4)}"
    )
    return _path(f"{line} {head}", "edge")


def _path(data: str, kind: str) -> Markup:
    return element("path", d=data, class_=kind)
