"""What an action is: its name, its arguments, who may do it, and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from msgspec import Struct

from drivetrain import App
from drivetrain.app.bulk.outcomes import TaskOutcome
from drivetrain_dashboard.actions.roles import Role

__all__ = ["ActionKind", "Arguments", "Done", "OutcomeRow", "never", "no_question", "outcome_row"]


class Arguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of an action: the fields of its form, and of the body in ``/api/v1``."""


class OutcomeRow(Struct, frozen=True, kw_only=True):
    """What became of one task.

    Attributes:
        task_id: the id of the task.
        verdict: ``done``, ``skipped`` or ``failed``.
        reason: why the action was not done; empty: it was.
    """

    task_id: str
    verdict: str
    reason: str = ""


class Done(Struct, frozen=True, kw_only=True):
    """What an action has done.

    Attributes:
        text: what was done, in one sentence.
        operation: the id of the operation that goes on in the background; empty: all is done.
        task_id: the id of the task that was sent; empty: none was.
        outcomes: what became of each task, where there are few.
    """

    text: str
    operation: str = ""
    task_id: str = ""
    outcomes: tuple[OutcomeRow, ...] = ()


def no_question(_app: App, _arguments: object) -> str:
    """The action needs no confirmation."""
    return ""


def never(_app: App) -> str:
    """Every driver can do it."""
    return ""


@frozen(kw_only=True)
class ActionKind:
    """An action.

    Attributes:
        name: its name: a page, a dot and a verb.
        label: what a button says.
        summary: what it does, in one sentence.
        arguments: the type of its arguments.
        perform: does it: the app, the arguments, the name of the viewer. It may block, and raise DrivetrainError.
        objects_of: what it acts on, for `authorize` and the audit.
        role: the least role that may do it.
        question: asks for a confirmation, in words that contain the arguments; empty: none is needed.
        refusal: why the drivers of an app cannot do it; empty: they can.
    """

    name: str
    label: str
    summary: str
    arguments: type[Arguments]
    perform: Callable[[App, Any, str], Done]
    objects_of: Callable[[Any], Sequence[str]]
    role: Role = Role.OPERATOR
    question: Callable[[App, Any], str] = no_question
    refusal: Callable[[App], str] = never


def outcome_row(outcome: TaskOutcome) -> OutcomeRow:
    """What became of a task, for a page."""
    return OutcomeRow(task_id=outcome.task_id, verdict=outcome.verdict.value, reason=outcome.reason)
