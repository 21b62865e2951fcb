"""The action on an operation in the background: stop it."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain import App
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.refusals import stores_nothing
from drivetrain_dashboard.views.page import Id

__all__ = ["OPERATION_ACTIONS", "OperationChoice"]


class OperationChoice(Arguments, frozen=True, kw_only=True):
    """Which operation to act on.

    Attributes:
        id: its id.
    """

    id: Id


def _stop(app: App, chosen: OperationChoice, by: str) -> Done:
    stopped = app.operations.bulk.get(chosen.id).stop(by=by)
    text = (
        "It stops after the tasks on which it acts now; what it has done stays." if stopped else "It had ended before."
    )
    return Done(text=text, operation=chosen.id)


def _operation_of(chosen: OperationChoice) -> Sequence[str]:
    return [chosen.id]


OPERATION_ACTIONS = (
    ActionKind(
        name="operations.stop",
        label="Stop",
        summary="Stop an operation in the background; what it has done stays.",
        arguments=OperationChoice,
        perform=_stop,
        objects_of=_operation_of,
        refusal=stores_nothing,
    ),
)
