"""The helpers for web applications: the lifespan, progress as server-sent events, and handles in async code."""

from __future__ import annotations

import asyncio
import threading

import pytest

from drivetrain import App, State, UnknownResult, asgi, current_task
from drivetrain.asgi import lifespan, progress_events


@pytest.fixture
def app() -> App:
    return App("memory://")


def test_progress_as_events(app):
    seen = threading.Event()

    @app.task(name="load")
    def load() -> int:
        current_task().progress(1, 2, note="half")
        assert seen.wait(60)
        return 5

    async def follow() -> list[str]:
        events = []
        async for event in progress_events(await load.send_async(), timeout=60):
            events.append(event)
            if '"note": "half"' in event:
                seen.set()
        return events

    with app.worker():
        events = asyncio.run(follow())
    assert 'event: progress\ndata: {"done": 1, "total": 2, "note": "half"}\n\n' in events
    assert events[-1] == 'event: end\ndata: {"state": "SUCCESS"}\n\n'


def test_a_stream_without_changes_is_kept_alive(app, monkeypatch):
    monkeypatch.setattr(asgi, "_KEEP_ALIVE_SECONDS", 0.01)

    @app.task(name="load")
    def load() -> None: ...

    async def first(number: int) -> list[str]:
        events = progress_events(await load.send_async())
        found = [await anext(events) for _ in range(number)]
        await events.aclose()
        return found

    assert asyncio.run(first(3))[1:] == [": nothing has changed\n\n"] * 2


def test_a_stream_ends_when_its_time_is_over_and_when_nothing_is_known(app):
    @app.task(name="load")
    def load() -> None: ...

    async def all_of(handle, seconds=None) -> list[str]:
        return [event async for event in progress_events(handle, timeout=seconds)]

    assert asyncio.run(all_of(load.send(), seconds=0))[-1] == 'event: end\ndata: {"state": "PENDING"}\n\n'
    [event] = asyncio.run(all_of(app.result("unknown")))
    assert event.startswith("event: unknown\n")


def test_the_lifespan_closes_the_app_and_may_run_a_worker(app):
    @app.task(name="load")
    def load() -> int:
        return 5

    async def live() -> int:
        async with lifespan(app, worker=True)(None):
            return await (await load.send_async()).get_async(timeout=60)

    before = app.runtime
    assert asyncio.run(live()) == 5
    assert app.runtime is not before


def test_a_handle_in_async_code(app):
    @app.task(name="load")
    def load() -> None: ...

    async def use() -> None:
        handle = await load.send_async()
        assert await handle.state_async() is State.PENDING
        assert await handle.cancel_async()
        assert (await handle.record_async()).state is State.CANCELLED
        with pytest.raises(UnknownResult):
            await app.result("unknown").state_async()

    asyncio.run(use())
