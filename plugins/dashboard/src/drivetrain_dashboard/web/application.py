"""Makes the ASGI application of a dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from drivetrain import App
from drivetrain_dashboard.api.errors import error_response
from drivetrain_dashboard.api.routes import api_routes
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.web.dashboard import Dashboard
from drivetrain_dashboard.web.forms import form_routes
from drivetrain_dashboard.web.guard import Guard
from drivetrain_dashboard.web.live import Live
from drivetrain_dashboard.web.notices import Notices
from drivetrain_dashboard.web.pages import page_routes
from drivetrain_dashboard.web.permissions import Permissions
from drivetrain_dashboard.web.snapshots import Snapshots
from drivetrain_dashboard.web.viewers import Authentication, Authorize, LocalAuthentication, TrustedAddresses
from drivetrain_dashboard.web.visit import ROOT_KEY

__all__ = ["asgi"]

_HEALTH = "/health"


def asgi(
    app: App,
    *,
    authentication: Authentication | None = None,
    authorize: Authorize | None = None,
    read_only: bool = False,
    trusted_proxies: Sequence[str] = (),
    title: str = "",
    poll_seconds: float = 2.0,
) -> ASGIApp:
    """The dashboard of an app as an ASGI application: run it with uvicorn, or mount it in another application.

    Args:
        app: the app.
        authentication: finds out who sends a request: `BasicAuthentication`, `ProxyAuthentication`, or your own. None:
            only requests of this machine are answered, to localhost, and its user may do everything.
        authorize: whether a viewer may do an action with an object, beyond what the role allows; see `Authorize`. It is
            called in a thread, and may block.
        read_only: leave all actions out, whatever the role of a viewer is.
        trusted_proxies: addresses or networks of proxies whose ``X-Forwarded-Prefix`` and ``X-Forwarded-Host`` are
            believed.
        title: the title of all pages; empty: the name of the app.
        poll_seconds: how often a page that somebody looks at is read at most, in seconds.

    Raises:
        ConfigurationError: an address of a proxy is wrong.
    """
    context = ReadContext.of(app)
    dashboard = Dashboard(
        app=app,
        title=title or app.settings.name,
        snapshots=Snapshots(context, time.monotonic, seconds=poll_seconds),
        permissions=Permissions(app, authorize, read_only),
        notices=Notices(),
        poll_seconds=poll_seconds,
    )
    guard = Middleware(
        Guard,
        authentication=authentication or LocalAuthentication(),
        trusted_proxies=TrustedAddresses(trusted_proxies),
        open_paths=frozenset({_HEALTH}),
        refusal=lambda request, status, text: _error(dashboard, request, status, text),
    )
    return Starlette(
        routes=[
            Route(_HEALTH, _health, methods=["GET"]),
            *page_routes(dashboard),
            *([] if read_only else form_routes(dashboard)),
            *Live(dashboard).routes(),
            Mount("/api/v1", routes=api_routes(dashboard)),
            Mount("/static", StaticFiles(packages=[("drivetrain_dashboard", "static")]), name="static"),
        ],
        middleware=[guard],
        exception_handlers={HTTPException: _refused(dashboard)},
    )


async def _health(_request: Request) -> Response:
    """The process lives. It asks no service, and says nothing of the app."""
    return PlainTextResponse("ok\n")


def _refused(dashboard: Dashboard) -> Callable[[Request, Exception], Response]:
    """What answers requests for which there is no route."""

    def handler(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = {404: "There is no such page.", 405: "This address does not take this method."}.get(status, str(error))
        response = _error(dashboard, request, status, text)
        response.headers.update(getattr(error, "headers", None) or {})
        return response

    return handler


def _error(dashboard: Dashboard, request: Request, status: int, text: str) -> Response:
    """An error, as JSON below ``/api``."""
    path = request.scope["path"].removeprefix(request.scope[ROOT_KEY])
    return error_response(status, text) if path.startswith("/api/") else dashboard.error(request, status, text)
