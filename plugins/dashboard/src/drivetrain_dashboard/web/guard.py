"""The guard: what each request passes before any page. It authenticates, refuses foreign origins, and adds headers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drivetrain_dashboard.web.links import Links, base_path
from drivetrain_dashboard.web.origin import foreign_origin
from drivetrain_dashboard.web.viewers import Authentication, Refused, TrustedAddresses
from drivetrain_dashboard.web.visit import ROOT_KEY, SCOPE_KEY, Visit

__all__ = ["Guard", "security_headers"]

logger = logging.getLogger("drivetrain.dashboard")

#: Makes the answer to a request that is refused: the request, the status, why.
RefusalResponse = Callable[[Request, int, str], Response]

_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Guard:
    """An ASGI middleware around the whole dashboard.

    Args:
        app: the application behind it.
        authentication: finds out who sends a request.
        trusted_proxies: whose ``X-Forwarded-Prefix`` and ``X-Forwarded-Host`` are believed.
        open_paths: the paths that need no authentication.
        refusal: makes the answer to a request that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authentication: Authentication,
        trusted_proxies: TrustedAddresses,
        open_paths: frozenset[str],
        refusal: RefusalResponse,
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._trusted_proxies = trusted_proxies
        self._open_paths = open_paths
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[ROOT_KEY] = scope.get("root_path", "")
        nonce = secrets.token_urlsafe(16)
        # Browsers ask again whether a file of this package has changed, and keep nothing of the pages.
        cache = "no-cache" if _path(scope).startswith("/static/") else "no-store"
        sender = _Sender(send, security_headers(nonce), cache)
        send = sender.send
        request = Request(scope, receive)
        try:
            if _path(scope) not in self._open_paths:
                scope[SCOPE_KEY] = await self._visit(request, nonce)
        except Refused as refused:
            response = self._refusal(request, refused.status, refused.text)
            response.headers.update(refused.headers)
            await response(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:  # of a page or a driver, which may raise anything: it is logged, and answered without details
            logger.exception("unexpected error while answering %s %s", request.method, ascii(request.url.path))
            if sender.began:
                raise  # the answer is cut off
            scope.pop(SCOPE_KEY, None)  # a plain text, in case that a template is at fault
            response = self._refusal(request, 500, "Unexpected error. The log of the dashboard has more.")
            await response(scope, receive, send)

    async def _visit(self, request: Request, nonce: str) -> Visit:
        viewer = await self._authentication.viewer(request)
        forwarded = self._forwarded(request)
        if request.method not in _SAFE_METHODS:
            host = forwarded.get("x-forwarded-host") or request.headers.get("host", "")
            if reason := foreign_origin(request.headers, host=host):
                raise Refused(403, f"The request may come from another site, so it is refused: {reason}.")
        prefix = forwarded.get("x-forwarded-prefix", "")
        return Visit(viewer=viewer, links=Links(base_path(request.scope.get("root_path", ""), prefix)), nonce=nonce)

    def _forwarded(self, connection: HTTPConnection) -> Mapping[str, str]:
        """What a proxy says of the address that the browser sees; empty: no trusted proxy has sent the request."""
        address = "" if connection.client is None else connection.client.host
        return connection.headers if address in self._trusted_proxies else {}


def security_headers(nonce: str) -> Mapping[str, str]:
    """The headers of each answer.

    Args:
        nonce: what scripts and styles of the answer have.
    """
    policy = (
        "default-src 'none'",
        f"script-src 'self' 'nonce-{nonce}'",
        f"style-src 'self' 'nonce-{nonce}'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }


class _Sender:
    """Sends an answer with more headers.

    Attributes:
        began: whether the answer has begun.
    """

    def __init__(self, send: Send, headers: Mapping[str, str], cache: str) -> None:
        self._send = send
        self._headers = headers
        self._cache = cache
        self.began = False

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self.began = True
            found = MutableHeaders(scope=message)
            found.update(self._headers)
            found.setdefault("Cache-Control", self._cache)
        await self._send(message)


def _path(scope: Scope) -> str:
    """The path below the path at which the dashboard is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope[ROOT_KEY])
