"""Live pages: a browser hears of changes; all that look at a page share its readings; nobody looks: nothing is read."""

import asyncio
import json

import anyio
import pytest

from drivetrain.contract import ServiceUnavailable
from drivetrain_dashboard.views.catalog import PAGES, PageKind
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Page, Query
from drivetrain_dashboard.web.snapshots import Snapshots


class Content(Page, frozen=True, kw_only=True):
    """A page with one number."""

    number: int


class Reads:
    """Reads a page, and counts that. The number is what the page shows."""

    def __init__(self):
        self.count = 0
        self.number = 0
        self.error = None

    def __call__(self, _context, _query):
        self.count += 1
        if self.error is not None:
            raise self.error
        return Content(at=float(self.count), number=self.number)


class Time:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def reads():
    return Reads()


@pytest.fixture
def kind(reads):
    return PageKind(name="numbers", path="/numbers", title="", query=Query, model=Content, read=reads)


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def snapshots(app, clock):
    return Snapshots(ReadContext.of(app), clock, seconds=2.0)


def test_many_viewers_share_a_reading(snapshots, kind, reads, clock):
    async def look():
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(snapshots.read, kind, Query())
        clock.now = 1.9
        await snapshots.read(kind, Query())
        assert reads.count == 1
        clock.now = 2.1
        await snapshots.read(kind, Query())

    anyio.run(look)
    assert reads.count == 2


def test_the_version_changes_with_the_content_and_not_with_the_time(snapshots, kind, reads, clock):
    async def look():
        clock.now += 3
        return (await snapshots.read(kind, Query())).version

    async def story():
        one, same = await look(), await look()
        reads.number = 1
        return one, same, await look()

    one, same, other = anyio.run(story)
    assert one == same != other


def test_an_action_makes_pages_be_read_again(snapshots, kind, reads):
    async def story():
        await snapshots.read(kind, Query())
        snapshots.forget()
        await snapshots.read(kind, Query())

    anyio.run(story)
    assert reads.count == 2


def test_a_page_that_takes_long_is_read_less_often(app, kind, clock):
    def slow(_context, _query):
        clock.now += 1.5
        return Content(at=0.0, number=0)

    slow_kind = PageKind(name="slow", path="/slow", title="", query=Query, model=Content, read=slow)
    snapshots = Snapshots(ReadContext.of(app), clock, seconds=2.0)
    anyio.run(snapshots.read, slow_kind, Query())
    assert snapshots.pause_of(slow_kind, Query()) == 15.0


def test_an_error_is_not_remembered(snapshots, kind, reads):
    async def story():
        reads.error = ServiceUnavailable("away")
        with pytest.raises(ServiceUnavailable):
            await snapshots.read(kind, Query())
        reads.error = None
        return await snapshots.read(kind, Query())

    assert anyio.run(story).page.number == 0


def test_pages_are_remembered_up_to_a_limit(snapshots, kind):
    async def story():
        for number in range(300):
            await snapshots.read(PAGES["tasks"], PAGES["tasks"].query(q=f"id:{number}"))

    anyio.run(story)
    assert len(snapshots._entries) == 200


# Streams


class Stream:
    """A stream of server-sent events, read by calling the application: the test client would wait for its end.

    Args:
        application: the dashboard.
        query: the parameters of the stream.
    """

    def __init__(self, application, query):
        self._application = application
        self._query = query
        self._messages = asyncio.Queue()
        self._gone = anyio.Event()

    async def run(self):
        """Serve the stream until `leave`."""
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "path": "/live", "raw_path": b"/live", "root_path": "", "scheme": "http", "query_string": self._query,
            "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        }  # fmt: skip
        await self._application(scope, self._receive, self._send)

    def leave(self):
        """Close the connection, as a browser does."""
        self._gone.set()

    async def message(self):
        """The next message of ASGI."""
        return await self._messages.get()

    async def event(self):
        """The next event: its name and its data."""
        with anyio.fail_after(30):
            while True:
                message = await self.message()
                text = message.get("body", b"").decode()
                if text.startswith("event: "):
                    name, data = text.strip().split("\n")
                    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async def _receive(self):
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self._messages.put(message)


def test_a_browser_hears_of_a_change(app, application):
    async def story():
        stream = Stream(application, b"page=queues")
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            name, first = await stream.event()
            await anyio.to_thread.run_sync(app.signature("add", 1, 2).send)
            _, second = await stream.event()
            stream.leave()
        return name, first["version"], second["version"]

    name, first, second = anyio.run(story)
    assert name == "version"
    assert first != second


def test_a_browser_hears_that_a_service_is_away_and_back(app, application, monkeypatch):
    async def story():
        stream, operations = Stream(application, b"page=queues"), type(app.operations)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.run)
            await stream.event()
            sizes = operations.sizes

            def away(*_args):
                raise ServiceUnavailable("the broker is away")

            monkeypatch.setattr(operations, "sizes", away)
            problem = await stream.event()
            monkeypatch.setattr(operations, "sizes", sizes)
            while (event := await stream.event())[0] == "problem":
                pass
            stream.leave()
        return problem, event

    problem, event = anyio.run(story)
    assert problem == ("problem", {"text": "the broker is away"})
    assert event[0] == "version"


def test_streams_end_with_the_browser_and_are_limited(application, monkeypatch):
    monkeypatch.setattr("drivetrain_dashboard.web.live.MOST_STREAMS", 2)

    async def story():
        streams = [Stream(application, b"page=workers") for _ in range(2)]
        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(stream.run)
                await stream.event()
            third = Stream(application, b"page=workers")
            await third.run()
            refused = (await third.message())["status"]
            for stream in streams:
                stream.leave()
        again = Stream(application, b"page=workers")
        async with anyio.create_task_group() as group:
            group.start_soon(again.run)
            event = await again.event()
            again.leave()
        return refused, event

    refused, event = anyio.run(story)
    assert (refused, event[0]) == (503, "version")


def test_a_stream_of_no_page_is_not_found(client):
    assert client.get("/live").status_code == 404
    assert client.get("/live?page=nothing").status_code == 404
    assert client.get("/live?page=tasks&limit=many").status_code == 422
