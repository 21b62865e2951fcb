"""What is known of a request: who sends it, and how the dashboard is addressed."""

from __future__ import annotations

from attrs import frozen
from starlette.requests import HTTPConnection

from drivetrain_dashboard.web.links import Links
from drivetrain_dashboard.web.viewers import Viewer

__all__ = ["ROOT_KEY", "SCOPE_KEY", "Visit", "visit_of"]

#: The key of the ASGI scope under which the visit is.
SCOPE_KEY = "drivetrain_dashboard.visit"
#: The key under which the path is at which the dashboard is mounted. Routes of their own change ``root_path``.
ROOT_KEY = "drivetrain_dashboard.root"


@frozen(kw_only=True)
class Visit:
    """A request of a viewer. Immutable.

    Attributes:
        viewer: who sends it.
        links: makes addresses within the dashboard.
        nonce: what scripts and styles of the answer must have. No other ones run.
    """

    viewer: Viewer
    links: Links
    nonce: str


def visit_of(connection: HTTPConnection) -> Visit:
    """The visit of a request that the guard has let through."""
    visit: Visit = connection.scope[SCOPE_KEY]
    return visit
