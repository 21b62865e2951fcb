"""The routes of ``/api/v1``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from drivetrain_dashboard.actions.catalog import ACTIONS
from drivetrain_dashboard.actions.kinds import ActionKind
from drivetrain_dashboard.api.document import document
from drivetrain_dashboard.api.errors import error_response
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.web.bodies import BodyTooLarge, read_body
from drivetrain_dashboard.web.dashboard import Dashboard
from drivetrain_dashboard.web.doing import ActionRefused, perform
from drivetrain_dashboard.web.encoding import encode
from drivetrain_dashboard.web.links import API_PATHS
from drivetrain_dashboard.web.pages import PageRefused, read_page
from drivetrain_dashboard.web.threads import in_thread
from drivetrain_dashboard.web.visit import visit_of

__all__ = ["api_routes"]

Endpoint = Callable[[Request], Awaitable[Response]]


def api_routes(dashboard: Dashboard) -> list[BaseRoute]:
    """The routes of the pages, the actions and the OpenAPI document, below ``/api/v1``."""
    pages = [Route(API_PATHS[kind.name], _page_endpoint(dashboard, kind), methods=["GET"]) for kind in PAGES.values()]
    acts = not dashboard.permissions.read_only
    actions = [
        Route(f"/actions/{kind.name}", _action_endpoint(dashboard, kind), methods=["POST"])
        for kind in (ACTIONS.values() if acts else ())
    ]
    return [*pages, *actions, Route("/openapi.json", _document_endpoint(dashboard), methods=["GET"])]


def _page_endpoint(dashboard: Dashboard, kind: PageKind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            _, snapshot = await read_page(dashboard, request, kind)
        except PageRefused as refused:
            return error_response(refused.status, refused.text)
        visit = visit_of(request)
        return await in_thread(lambda: _json(dashboard.with_offers(snapshot.page, kind, visit)))

    return endpoint


def _action_endpoint(dashboard: Dashboard, kind: ActionKind) -> Endpoint:
    decoder = msgspec.json.Decoder(kind.arguments)

    async def endpoint(request: Request) -> Response:
        viewer = visit_of(request).viewer
        if not dashboard.permissions.acts(viewer):
            return error_response(404, "There is no such address.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return error_response(415, "The body must be JSON, with the Content-Type application/json.")
        try:
            arguments = decoder.decode(await read_body(request))
        except BodyTooLarge:
            return error_response(413, "The body is too large: choose fewer tasks, or all that match.")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return error_response(422, f"The body is wrong: {error}.")
        try:
            done = await in_thread(lambda: perform(dashboard.permissions, viewer, kind, arguments))
        except ActionRefused as refused:
            return error_response(refused.status, refused.text)
        finally:
            dashboard.snapshots.forget()
        return _json(done)

    return endpoint


def _document_endpoint(dashboard: Dashboard) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        viewer, base = visit_of(request).viewer, visit_of(request).links.base
        return _json(document(base=f"{base}/api/v1", with_actions=dashboard.permissions.acts(viewer)))

    return endpoint


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")
