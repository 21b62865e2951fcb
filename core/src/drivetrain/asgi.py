"""Helpers for web applications on ASGI: FastAPI, Starlette, Litestar and others. It imports none of them.

from drivetrain.asgi import lifespan, progress_events

web = FastAPI(lifespan=lifespan(app))

@web.get("/tasks/{task_id}/progress")
async def progress(task_id: str) -> StreamingResponse:
    return StreamingResponse(progress_events(app.result(task_id)), media_type="text/event-stream")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

from drivetrain.app.application import App
from drivetrain.app.result import Result
from drivetrain.contract import UnknownResult

__all__ = ["lifespan", "progress_events"]

#: How often a stream without changes gets a comment, in seconds: proxies close connections that are quiet.
_KEEP_ALIVE_SECONDS = 15.0


def lifespan(app: App, *, worker: bool = False) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan of a web application: closes the connections of ``app`` when the application stops.

    ``FastAPI(lifespan=lifespan(app))``, ``Starlette(lifespan=…)``, ``Litestar(lifespan=[…])``. Inside a lifespan of
    your own: ``async with lifespan(app)(web): yield``.

    Args:
        app: the app that the application sends with.
        worker: whether a worker runs tasks in threads of this process, for development and tests.
    """

    @asynccontextmanager
    async def live(_application: Any) -> AsyncIterator[None]:
        with ExitStack() as stack:
            if worker:
                # A worker waits for its tasks when it stops, so another thread stops it.
                running = app.worker()
                await asyncio.to_thread(running.start)
                stack.callback(running.stop)
            try:
                yield
            finally:
                await asyncio.to_thread(stack.close)
                await asyncio.to_thread(app.close)

    return live


async def progress_events(result: Result[Any], *, timeout: float | None = None) -> AsyncIterator[str]:  # noqa: ASYNC109 - the same parameter as `Result.get`
    """The progress of a task or workflow as server-sent events, until it has ended.

    Each change is an event ``progress`` with ``{"done": …, "total": …, "note": …}``. The last event is ``end`` with
    ``{"state": "SUCCESS"}`` or another state; the state of one that has not ended in time is the present one. If the
    backend has no record of it, the only event is ``unknown``. A browser's ``EventSource`` connects again after the end
    of a stream, unless the page closes it at ``end``.

    Args:
        result: the handle.
        timeout: how long to wait at most for its end, in seconds; None: without limit.
    """
    changes = aiter(result.progress_changes(timeout=timeout))
    following = asyncio.ensure_future(anext(changes))
    try:
        while True:
            done, _ = await asyncio.wait([following], timeout=_KEEP_ALIVE_SECONDS)
            if not done:
                yield ": nothing has changed\n\n"
                continue
            change = following.result()
            yield _event("progress", {"done": change.done, "total": change.total, "note": change.note})
            following = asyncio.ensure_future(anext(changes))
    except StopAsyncIteration:
        yield _event("end", {"state": await result.state_async()})
    except UnknownResult as error:
        yield _event("unknown", {"error": str(error)})
    finally:
        following.cancel()


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
