"""An app with tasks that succeed and fail, and clients of its dashboard."""

import warnings
from contextlib import ExitStack
from uuid import uuid4

import pytest

from drivetrain import App, every
from drivetrain_dashboard import asgi

with warnings.catch_warnings():
    # Starlette will use another client library; that is of no concern here.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

#: What a browser adds to a request that its own page sends.
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class Client(TestClient):
    """A browser on this machine."""

    def __init__(self, application, *, address="127.0.0.1", host="localhost", root_path="", headers=None):
        super().__init__(
            application,
            base_url=f"http://{host}",
            client=(address, 50000),
            root_path=root_path,
            headers=headers,
            follow_redirects=False,
            raise_server_exceptions=False,
        )

    def page(self, address, status=200):
        """The text of a page."""
        answer = self.get(address)
        assert answer.status_code == status, answer.text
        return answer.text

    def read(self, address, status=200):
        """The JSON of a page."""
        answer = self.get(f"/api/v1{address}")
        assert answer.status_code == status, answer.text
        return answer.json()

    def submit(self, action, status=303, **fields):
        """Send a form; the answer."""
        answer = self.post(f"/do/{action}", data=fields, headers=SAME_ORIGIN)
        assert answer.status_code == status, answer.text
        return answer

    def act(self, action, status=200, **arguments):
        """Do an action by its JSON; the answer."""
        answer = self.post(f"/api/v1/actions/{action}", json=arguments)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def new_app():
    """Makes apps with tasks that succeed, fail, and go to the dead letters."""

    def make(broker=None, backend=None, **settings):
        app = App(broker or f"memory://dashboard-{uuid4().hex}", backend, name="shop", **settings)

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        @app.task(name="fail")
        def fail(text: str) -> None:
            raise ValueError(text)

        @app.task(name="die", dead_letter=True)
        def die(text: str) -> None:
            raise ValueError(text)

        return app

    return make


@pytest.fixture
def make_app(new_app):
    """Makes such apps, and closes them."""
    with ExitStack() as stack:
        yield lambda *urls, **settings: stack.enter_context(new_app(*urls, **settings))


@pytest.fixture
def app(make_app):
    """An app on drivers in memory."""
    return make_app()


@pytest.fixture(scope="session")
def make_client():
    """Makes browsers of a dashboard."""
    return Client


@pytest.fixture
def application(app):
    """A dashboard without authentication."""
    return asgi(app, poll_seconds=0.01)


@pytest.fixture
def client(application):
    """A browser of a dashboard without authentication."""
    return Client(application)


@pytest.fixture
def worked(app):
    """The app after it has worked: ids of tasks that have succeeded, failed, died, and that wait."""
    ids = {
        "succeeded": app.signature("add", 1, 2).send().id,
        "failed": app.signature("fail", "no stock").send().id,
        "dead": app.signature("die", "no stock").send().id,
    }
    with app.worker():
        for task_id in ids.values():
            assert app.result(task_id).wait(30)
    ids["waiting"] = app.signature("add", 3, 4).send().id
    ids["delayed"] = app.signature("add", 5, 6).set(delay=3600).send().id
    app.schedules.put("hourly", app.signature("add", 1, 1), every(seconds=3600))
    return ids
