"""With a real Memcached, which lists no tasks, each page says what it cannot show."""

import pytest

from drivetrain_dashboard import asgi
from drivetrain_dashboard.views.catalog import PAGES
from services.memcached import MemcachedServer


@pytest.fixture
def memcached(tmp_path):
    server = MemcachedServer(tmp_path / "memcached")
    server.process.start()
    yield server
    server.process.kill()


def test_each_page_is_honest(memcached, make_app, make_client):
    app = make_app(backend=memcached.url)
    client = make_client(asgi(app))
    sent = app.signature("fail", "no stock").send()
    with app.worker():
        assert sent.wait(60)
        client.page("/workers")
    for kind in PAGES.values():
        client.page(kind.path + (f"?id={sent.id}" if kind.name in {"task", "workflow", "operation"} else ""))
    assert client.read(f"/task?id={sent.id}")["failure"]["message"] == "no stock"
    found = client.read("/tasks?q=state:cancelled")
    assert (found["tasks"], found["listed"]) == ([], [])
    assert found["notices"] or found["problem"]
    assert client.read(f"/tasks?q=id:{sent.id}")["tasks"][0]["state"] == "FAILURE"
