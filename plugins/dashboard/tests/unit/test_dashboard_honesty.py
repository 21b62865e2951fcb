"""What a driver cannot do, or cannot be asked, is said on the page: nothing is an error of the server."""

from collections.abc import Callable

import pytest
from attrs import evolve

from drivetrain.contract import NotSupported, QueueSection, QueueSizes, ServiceUnavailable, TaskReach
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain_dashboard import asgi
from drivetrain_dashboard.views.catalog import PAGES
from drivetrain_dashboard.web.links import API_PATHS
from support.waiting import until

_WITH_ID = {"task", "workflow", "operation"}


def all_pages(client, *, status=200):
    """The JSON of all pages; each answers as HTML too."""
    found = {}
    for kind in PAGES.values():
        query = "?id=x" if kind.name in _WITH_ID else ""
        client.page(f"{kind.path}{query}", status=status)
        found[kind.name] = client.read(f"{API_PATHS[kind.name]}{query}", status=status)
    return found


@pytest.fixture
def blind_broker(monkeypatch):
    """Brokers show only dead letters, list no queues and estimate sizes: as SQS does."""
    lacking = evolve(MemoryBroker.capabilities, peeks=False, lists_queues=False, measures_age=False, exact_sizes=False)
    peek: Callable = MemoryBroker.peek

    def peek_dead(self, queue, section, /, *, limit):
        if section is not QueueSection.DEAD:
            raise NotSupported("this broker cannot show messages that wait")
        return peek(self, queue, section, limit=limit)

    monkeypatch.setattr(MemoryBroker, "capabilities", lacking)
    monkeypatch.setattr(MemoryBroker, "peek", peek_dead)
    monkeypatch.setattr(MemoryBroker, "queues", lambda _self: [])
    monkeypatch.setattr(
        MemoryBroker,
        "sizes",
        lambda _self, queues: {one: QueueSizes(ready=3, delayed=None, in_flight=None, dead=None) for one in queues},
    )


@pytest.fixture
def forgetful_backend(monkeypatch):
    """Backends list no tasks: as Memcached."""
    monkeypatch.setattr(MemoryBackend, "capabilities", evolve(MemoryBackend.capabilities, lists_tasks=TaskReach.NONE))


def test_a_backend_that_stores_nothing(make_app, make_client):
    app = make_app(backend="null://")
    client = make_client(asgi(app))
    pages = all_pages(client)
    for name in ("task", "workflow", "workers", "schedules", "limits", "operations", "operation"):
        assert "stores nothing" in pages[name]["problem"] or "stores results" in pages[name]["problem"], name
    assert pages["overview"]["workers"] is None
    assert pages["overview"]["queues"][0]["workers"] is None
    assert "this app's backend is null://" in pages["overview"]["hour"]["problem"]
    refusals = {name: one["refusal"] for page in pages.values() for name, one in page["offers"].items()}
    possible = {name for name, refusal in refusals.items() if not refusal}
    assert possible == {"queues.purge", "dead_letters.replay", "dead_letters.drop"}
    assert client.act("queues.pause", 409, queue="default")["error"] == refusals["queues.pause"]


def test_dead_letters_without_a_backend(make_app, make_client):
    app = make_app(backend="null://")
    sent = app.signature("die", "no stock").send()
    client = make_client(asgi(app, poll_seconds=0.0))
    with app.worker():
        until(lambda: client.read("/dead-letters")["letters"], "a dead letter")
    assert client.act("dead_letters.replay", queue="default", ids=[sent.id])["text"].startswith("1 dead letters")


def test_a_backend_that_lists_no_tasks(app, client, forgetful_backend):
    waiting = app.signature("add", 1, 2).send()
    page = client.read("/tasks?q=state:succeeded")
    assert (page["tasks"], page["listed"]) == ([], [])
    everything = client.read("/tasks")
    assert everything["problem"] == "" or "does not list" in everything["problem"]
    assert [one["task_id"] for one in client.read("/tasks?q=state:waiting")["tasks"]] == [waiting.id]
    assert client.read(f"/tasks?q=id:{waiting.id}")["tasks"][0]["state"] == "PENDING"
    assert client.read(f"/task?id={waiting.id}")["state"] == "PENDING"
    all_pages(client)


def test_neither_backend_nor_queues_list_tasks(app, client, forgetful_backend, blind_broker):
    app.signature("add", 1, 2).send()
    page = client.read("/tasks?q=state:waiting")
    assert "cannot find tasks that wait" in page["problem"]
    assert client.read("/tasks?q=state:waiting&count=1")["problem"] == page["problem"]
    assert "cannot find" in client.act("tasks.cancel", 409, matching=True, q="state:waiting")["error"]
    client.page("/tasks?q=state:waiting")


def test_a_broker_that_shows_only_dead_letters(app, client, blind_broker):
    delayed = app.signature("add", 1, 2).set(delay=3600).send()
    pages = all_pages(client)
    [queue] = pages["queues"]["queues"]
    assert (queue["ready"], queue["delayed"], queue["dead"], queue["oldest_seconds"]) == (3, None, None, None)
    assert (pages["queues"]["approximate"], pages["queues"]["lists_all"]) == (True, False)
    problems = [one["problem"] for one in client.read("/queues?queue=default")["sections"]]
    assert problems == ["The broker cannot show messages that wait. Only dead letters can be listed."] * 2
    refusal = pages["tasks"]["offers"]["tasks.run_now"]["refusal"]
    assert "cannot show delayed messages" in refusal
    assert client.act("tasks.run_now", 409, ids=[delayed.id])["error"] == refusal
    assert client.read(f"/task?id={delayed.id}&arguments=true")["arguments"]["problem"] == (
        "The broker cannot show messages that wait."
    )
    question = client.submit("queues.purge", 200, queue="default").text
    assert "their tasks are not cancelled" in question


def test_a_service_that_is_away(app, client, monkeypatch):
    def away(*_args, **_options):
        raise ServiceUnavailable("the broker is away")

    monkeypatch.setattr(MemoryBroker, "sizes", away)
    monkeypatch.setattr(MemoryBackend, "read", away)
    assert client.read("/overview", status=503) == {"status": 503, "error": "the broker is away"}
    assert "the broker is away" in client.page("/queues", status=503)
    answer = client.get("/live?page=queues")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    monkeypatch.undo()
    client.page("/queues")


def test_a_driver_that_raises_anything(app, client, monkeypatch, caplog):
    def broken(*_args, **_options):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(MemoryBroker, "sizes", broken)
    assert "secret detail" not in client.page("/queues", status=500)
    assert client.read("/queues", status=500)["error"] == "Unexpected error. The log of the dashboard has more."
    assert "secret detail" in caplog.text
    monkeypatch.setattr(MemoryBackend, "write_values", broken)
    answer = client.act("queues.pause", 500, queue="x")
    assert answer["error"] == "Unexpected error: RuntimeError. The log of the dashboard has more."
