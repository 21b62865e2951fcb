"""Live pages: the browser hears when a page has changed (server-sent events), and fetches it then.

All browsers that look at one page share its readings: see `drivetrain_dashboard.web.snapshots`. A stream reads when the
last reading is too old, so that nothing is read while nobody looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from drivetrain.contract import DrivetrainError
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.views.page import Query
from drivetrain_dashboard.web.dashboard import Dashboard
from drivetrain_dashboard.web.pages import PageRefused, read_page

__all__ = ["Live"]

#: How many streams are open at once. Beyond it, browsers poll.
MOST_STREAMS = 200
#: A stream ends after this many seconds. The browser opens another one, and is authenticated again.
_LONGEST_SECONDS = 600.0
#: How often something is sent at least, in seconds: proxies close connections that are silent.
_SILENT_SECONDS = 15.0


class Live:
    """Streams of changes. For the event loop's thread.

    Args:
        dashboard: the dashboard.
    """

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._open = 0

    def routes(self) -> list[BaseRoute]:
        """The route of streams: ``/live?page=tasks&q=…``."""
        return [Route("/live", self._endpoint, name="live", methods=["GET"])]

    async def _endpoint(self, request: Request) -> Response:
        kind = PAGES.get(request.query_params.get("page", ""))
        if kind is None:
            return Response("there is no such page", status_code=404, media_type="text/plain")
        if self._open >= MOST_STREAMS:
            return Response("too many streams", status_code=503, headers={"Retry-After": "10"}, media_type="text/plain")
        try:
            query, snapshot = await read_page(self._dashboard, request, kind, reserved=frozenset({"page"}))
        except PageRefused as refused:
            if refused.status != 503:
                return Response(refused.text, status_code=refused.status, media_type="text/plain")
            return Response(refused.text, status_code=503, headers={"Retry-After": "10"}, media_type="text/plain")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = self._stream(kind, query, snapshot.version)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _stream(self, kind: PageKind, query: Query, version: str) -> AsyncIterator[bytes]:
        """The events: ``version`` at the begin and after each change, ``problem`` while the page cannot be read."""
        self._open += 1
        try:
            began = sent = time.monotonic()
            yield _event("version", {"version": version})
            while time.monotonic() - began < _LONGEST_SECONDS:
                await anyio.sleep(self._dashboard.snapshots.pause_of(kind, query))
                event, version = await self._look(kind, query, version)
                if event or time.monotonic() - sent >= _SILENT_SECONDS:
                    sent = time.monotonic()
                    yield event or b": nothing has changed\n\n"
        finally:
            self._open -= 1

    async def _look(self, kind: PageKind, query: Query, version: str) -> tuple[bytes, str]:
        """The event to send, empty for none; and the version that the browser then has."""
        try:
            snapshot = await self._dashboard.snapshots.read(kind, query)
        except DrivetrainError as error:
            return _event("problem", {"text": str(error)}), ""
        changed = snapshot.version != version
        return _event("version", {"version": snapshot.version}) if changed else b"", snapshot.version


def _event(name: str, data: dict[str, str]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
