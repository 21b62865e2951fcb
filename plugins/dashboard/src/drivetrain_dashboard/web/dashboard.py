"""The parts of one dashboard, which its routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from drivetrain import App
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.views.page import Page
from drivetrain_dashboard.web.notices import Notices
from drivetrain_dashboard.web.permissions import VIEW, Permissions
from drivetrain_dashboard.web.rendering import page_response
from drivetrain_dashboard.web.snapshots import Snapshots
from drivetrain_dashboard.web.visit import SCOPE_KEY, Visit

__all__ = ["Dashboard", "MenuItem"]


@frozen
class MenuItem:
    """An entry of the menu.

    Attributes:
        name: the name of the page.
        title: its title.
        href: its address.
        current: whether it is the present page.
    """

    name: str
    title: str
    href: str
    current: bool


@frozen(kw_only=True)
class Dashboard:
    """The parts of one dashboard. Immutable.

    Attributes:
        app: the app.
        title: what the pages are called.
        snapshots: reads pages.
        permissions: decides what viewers may do.
        notices: the answers of actions.
        poll_seconds: how often a page that somebody looks at is read.
    """

    app: App
    title: str
    snapshots: Snapshots
    permissions: Permissions
    notices: Notices
    poll_seconds: float

    def with_offers(self, page: Page, kind: PageKind, visit: Visit) -> Page:
        """A page with its actions, and why the viewer cannot do them."""
        offers = {name: self.permissions.offer(visit.viewer, name) for name in kind.actions}
        return replace(page, offers=offers)

    def values(self, visit: Visit, kind: PageKind | None = None) -> dict[str, Any]:
        """What every template has.

        Args:
            visit: of the request.
            kind: the page; None: it is none, for example an error.
        """
        return {
            "app_title": self.title,
            "viewer": visit.viewer,
            "may_act": self.permissions.acts(visit.viewer),
            "link": visit.links,
            "nonce": visit.nonce,
            "poll_seconds": self.poll_seconds,
            "menu": self._menu(visit, kind),
            "kind": kind,
            "offer": lambda action, subject="": self.permissions.offer(visit.viewer, action, subject),
        }

    def error(self, request: Request, status: int, text: str) -> Response:
        """A page that reports an error."""
        visit: Visit | None = request.scope.get(SCOPE_KEY)
        titles: Mapping[int, str] = {
            401: "Who are you?",
            403: "Not allowed",
            404: "Not found",
            405: "Not allowed",
            503: "A service cannot be reached",
        }
        title = titles.get(status, "It did not work")
        if visit is None:  # nobody knows who asks: the page has no menu
            return Response(f"{title}\n\n{text}\n", status_code=status, media_type="text/plain; charset=utf-8")
        values = {**self.values(visit), "request": request, "title": title, "status": status, "text": text}
        return page_response("error.html", values, status=status)

    def _menu(self, visit: Visit, kind: PageKind | None) -> tuple[MenuItem, ...]:
        shown = [one for one in PAGES.values() if one.in_menu and self.permissions.may(visit.viewer, VIEW, one.name)]
        return tuple(MenuItem(one.name, one.title, visit.links(one.name), one is kind) for one in shown)
