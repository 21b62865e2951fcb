"""Performs an action for a viewer, with all checks, and writes the audit. Forms and ``/api/v1`` share it."""

from __future__ import annotations

import logging

from attrs import frozen

from drivetrain.contract import DrivetrainError, NotSupported
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.web import audit
from drivetrain_dashboard.web.failures import status_of
from drivetrain_dashboard.web.permissions import Permissions
from drivetrain_dashboard.web.viewers import Viewer

__all__ = ["ActionRefused", "perform", "question_of"]

logger = logging.getLogger("drivetrain.dashboard")

#: How many objects the audit names.
_MOST_NAMED = 20


@frozen
class ActionRefused(Exception):
    """An action was not done.

    Attributes:
        status: the status of the answer.
        text: why, in words.
    """

    status: int
    text: str


def question_of(permissions: Permissions, viewer: Viewer, kind: ActionKind, arguments: Arguments) -> str:
    """What to ask the viewer before an action; empty: nothing. It may block.

    Raises:
        ActionRefused: the viewer may not do it, or it cannot be done.
    """
    _check(permissions, viewer, kind, arguments)
    try:
        return kind.question(permissions.app, arguments)
    except DrivetrainError as error:
        raise _failed(viewer, kind, arguments, error) from error


def perform(permissions: Permissions, viewer: Viewer, kind: ActionKind, arguments: Arguments) -> Done:
    """Do an action. It may block.

    Raises:
        ActionRefused: the viewer may not do it, or it has failed.
    """
    _check(permissions, viewer, kind, arguments)
    try:
        done = kind.perform(permissions.app, arguments, viewer.name)
    except DrivetrainError as error:
        raise _failed(viewer, kind, arguments, error) from error
    except Exception as error:  # a third-party driver may raise anything
        logger.exception("unexpected error in the action %s", kind.name)
        audit.record("failed", viewer, kind.name, _named(kind, arguments), text=type(error).__name__)
        raise ActionRefused(
            500, f"Unexpected error: {type(error).__name__}. The log of the dashboard has more."
        ) from error
    audit.record("done", viewer, kind.name, _named(kind, arguments), text=done.text, operation=done.operation)
    return done


def _check(permissions: Permissions, viewer: Viewer, kind: ActionKind, arguments: Arguments) -> None:
    """Check that a viewer may do an action with each of its objects."""
    for subject in kind.objects_of(arguments) or [""]:
        if refusal := permissions.refusal(viewer, kind, subject):
            audit.record("refused", viewer, kind.name, _named(kind, arguments), text=refusal)
            driver = permissions.may(viewer, kind.name, subject)
            raise ActionRefused(409 if driver else 403, refusal)


def _failed(viewer: Viewer, kind: ActionKind, arguments: Arguments, error: DrivetrainError) -> ActionRefused:
    verdict: audit.Verdict = "refused" if isinstance(error, NotSupported) else "failed"
    audit.record(verdict, viewer, kind.name, _named(kind, arguments), text=str(error))
    return ActionRefused(status_of(error), str(error))


def _named(kind: ActionKind, arguments: Arguments) -> str:
    objects = kind.objects_of(arguments)
    more = f" and {len(objects) - _MOST_NAMED} more" if len(objects) > _MOST_NAMED else ""
    return " ".join(objects[:_MOST_NAMED]) + more
