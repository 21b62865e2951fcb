"""How drawings show the state of a task: a word, a class of the style sheet and a sign. Pure."""

from __future__ import annotations

from drivetrain.app.workflow_tree import Presence, WorkflowStep
from drivetrain.contract import State

__all__ = ["SIGNS", "TERMINAL", "ended_at", "state_class", "state_of", "state_word"]

#: A sign for each state, so that colours are never needed to tell one from another.
SIGNS = {
    "PENDING": "○",
    "RECEIVED": "◔",
    "STARTED": "▶",
    "RETRY": "↻",
    "SUCCESS": "✓",
    "FAILURE": "✗",
    "CANCELLED": "⊘",
    "EXPIRED": "◇",
}
#: The states that no task leaves.
TERMINAL = frozenset(state.value for state in State if state.terminal)


def state_of(step: WorkflowStep) -> str:
    """The name of the state of a step; empty where it is not known."""
    return step.state.value if step.presence is Presence.RECORDED and step.state is not None else ""


def state_word(step: WorkflowStep) -> str:
    """The state of a step in words: ``✓ SUCCESS``, ``○ PENDING, waits``, ``not sent``."""
    state = state_of(step)
    if not state:
        return step.presence.value
    return f"{SIGNS[state]} {state}, waits" if step.waits else f"{SIGNS[state]} {state}"


def state_class(state: str) -> str:
    """The class of a state in the style sheet: ``state-success``; ``state-unknown`` for every other text."""
    return f"state-{state.lower()}" if state in SIGNS else "state-unknown"


def ended_at(step: WorkflowStep) -> float | None:
    """When a step ended, in Unix seconds; None: it has not, or that is unknown."""
    if step.state is None or not step.state.terminal:
        return None
    return step.times.get(step.state.value)
