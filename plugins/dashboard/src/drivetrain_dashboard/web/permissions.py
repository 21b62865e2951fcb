"""What a viewer may do, and what is offered on a page."""

from __future__ import annotations

from attrs import frozen

from drivetrain import App
from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.actions.kinds import ActionKind
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.page import Offer
from drivetrain_dashboard.web.viewers import Authorize, Viewer

__all__ = ["ARGUMENTS", "VIEW", "Permissions"]

#: The action of looking at a page, and at the arguments and the result of a task.
VIEW, ARGUMENTS = "view", "task.arguments"

_NEEDED = {VIEW: Role.READ_ONLY, ARGUMENTS: Role.OPERATOR}


@frozen
class Permissions:
    """Decides what viewers may do. Immutable.

    Attributes:
        app: the app.
        authorize: the hook of the application; None: the role alone decides.
        read_only: whether no action exists, whatever the role.
    """

    app: App
    authorize: Authorize | None
    read_only: bool

    def acts(self, viewer: Viewer) -> bool:
        """Whether actions exist for a viewer."""
        return not self.read_only and viewer.role is not Role.READ_ONLY

    def may(self, viewer: Viewer, action: str, subject: str) -> bool:
        """Whether a viewer may do something with an object."""
        needed = _NEEDED.get(action) or ACTIONS[action].role
        if not viewer.role.includes(needed):
            return False
        return self.authorize is None or bool(self.authorize(viewer, action, subject))

    def offer(self, viewer: Viewer, action: str, subject: str = "") -> Offer:
        """An action, and why a viewer cannot do it.

        Args:
            viewer: the viewer.
            action: the name of the action.
            subject: what it acts on; empty: any object.
        """
        kind = ACTIONS[action]
        return Offer(action=action, label=kind.label, refusal=self.refusal(viewer, kind, subject))

    def refusal(self, viewer: Viewer, kind: ActionKind, subject: str) -> str:
        """Why a viewer cannot do an action; empty: the viewer can."""
        if not self.acts(viewer):
            return "This dashboard is read-only." if self.read_only else "Your role is read-only."
        if not viewer.role.includes(kind.role):
            return f"It needs the role {kind.role.value}, and yours is {viewer.role.value}."
        if self.authorize is not None and not self.authorize(viewer, kind.name, subject):
            return "You may not do it here."
        return kind.refusal(self.app)
