"""The routes of the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import fields
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from drivetrain.contract import DrivetrainError
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.views.page import Page, Query
from drivetrain_dashboard.views.task import TaskQuery
from drivetrain_dashboard.web import audit
from drivetrain_dashboard.web.dashboard import Dashboard
from drivetrain_dashboard.web.failures import status_of
from drivetrain_dashboard.web.permissions import ARGUMENTS, VIEW
from drivetrain_dashboard.web.queries import WrongInput, read_query
from drivetrain_dashboard.web.rendering import page_response
from drivetrain_dashboard.web.snapshots import Snapshot
from drivetrain_dashboard.web.threads import in_thread
from drivetrain_dashboard.web.visit import Visit, visit_of

__all__ = ["FRAGMENT", "NOTICE", "PageRefused", "page_routes", "read_page"]

#: Parameters that every page has: ``fragment=1`` asks for the part that changes; ``notice`` shows an answer. The script
#: adds ``live=off`` where a person has paused the page.
FRAGMENT, NOTICE = "fragment", "notice"
_RESERVED = frozenset({FRAGMENT, NOTICE, "live"})

Endpoint = Callable[[Request], Awaitable[Response]]


class PageRefused(Exception):
    """A page cannot be shown.

    Attributes:
        status: the status of the answer.
        text: why, in words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def page_routes(dashboard: Dashboard) -> list[BaseRoute]:
    """A route for each page."""
    return [Route(kind.path, _endpoint(dashboard, kind), name=kind.name, methods=["GET"]) for kind in PAGES.values()]


async def read_page(
    dashboard: Dashboard, request: Request, kind: PageKind, *, reserved: frozenset[str] | None = None
) -> tuple[Query, Snapshot]:
    """The parameters of a page and the page, if the viewer may see it.

    Args:
        dashboard: the dashboard.
        request: the request.
        kind: the page.
        reserved: parameters of the address that are not those of the page; None: a program has made the address.

    Raises:
        PageRefused: the viewer may not see it, its parameters are wrong, or it cannot be read.
    """
    visit = visit_of(request)
    given = [(name, value) for name, value in request.query_params.multi_items() if name not in (reserved or ())]
    try:
        query = read_query(kind.query, given, of_form=reserved is not None)
    except WrongInput as error:
        raise PageRefused(422, f"The address is wrong: {error}.") from None
    await in_thread(lambda: _check(dashboard, visit, kind, query, again=FRAGMENT in request.query_params))
    try:
        return query, await dashboard.snapshots.read(kind, query)
    except DrivetrainError as error:
        raise PageRefused(status_of(error), str(error)) from error


def _check(dashboard: Dashboard, visit: Visit, kind: PageKind, query: Query, *, again: bool) -> None:
    """Check that a viewer may see a page. ``again``: it is only refreshed, so that the audit needs no entry."""
    permissions, viewer = dashboard.permissions, visit.viewer
    if not permissions.may(viewer, VIEW, kind.name):
        raise PageRefused(403, f"You may not see the page {kind.title!r}.")
    if isinstance(query, TaskQuery) and query.arguments:
        if not permissions.may(viewer, ARGUMENTS, query.id):
            audit.record("refused", viewer, ARGUMENTS, query.id)
            raise PageRefused(403, "You may not see the arguments and the result of this task.")
        if not again:
            audit.record("done", viewer, ARGUMENTS, query.id)


def _endpoint(dashboard: Dashboard, kind: PageKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            query, snapshot = await read_page(dashboard, request, kind, reserved=_RESERVED)
        except PageRefused as refused:
            status, text = refused.status, refused.text  # the exception is unset when the block ends
            return await in_thread(lambda: dashboard.error(request, status, text))
        return await in_thread(lambda: _render(dashboard, request, kind, query, snapshot))

    return endpoint


def _render(dashboard: Dashboard, request: Request, kind: PageKind, query: Query, snapshot: Snapshot) -> Response:
    visit = visit_of(request)
    page: Page = dashboard.with_offers(snapshot.page, kind, visit)
    key = request.query_params.get(NOTICE, "")
    values: dict[str, Any] = {
        **dashboard.values(visit, kind),
        "request": request,
        "title": kind.title,
        "page": page,
        "query": query,
        "version": snapshot.version,
        "notice": dashboard.notices.get(key, visit.viewer.name) if key else None,
        "fragment": FRAGMENT in request.query_params,
        "here": visit.links(kind.name, **_given(query)),
        "live": visit.links("live", page=kind.name, **_given(query)),
        "may_see_arguments": dashboard.permissions.may(visit.viewer, ARGUMENTS, str(getattr(query, "id", ""))),
    }
    return page_response(f"{kind.name}.html", values)


def _given(query: Query) -> dict[str, object]:
    """The parameters that differ from their defaults."""
    values = {one.name: getattr(query, one.name) for one in fields(query)}
    return {one.name: values[one.name] for one in fields(query) if values[one.name] != one.default}
