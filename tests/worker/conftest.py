"""An app on each embedded driver, with tasks that note their runs."""

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from drivetrain import App, current_task, retry
from support.faults import hurry
from support.waiting import Log


@pytest.fixture
def log():
    """Notes of what ran: (task, arguments)."""
    return Log()


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    """A URL that serves as broker and backend, for any number of apps."""
    return _memory(tmp_path) if request.param == "memory" else f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def memory_url(tmp_path):
    return _memory(tmp_path)


def _memory(path):
    return f"memory://{path.name}-{uuid4().hex}"


def _tasks(app, log):
    def note(*args):
        log.note(current_task().task, *args)

    @app.task(name="value")
    def value(x: Any) -> Any:
        note(x)
        return x

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        note(x, y)
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        note(numbers)
        return sum(numbers)

    @app.task(name="broken")
    def broken(*args: Any) -> int:
        note(*args)
        raise ValueError("it is broken")

    @app.task(name="caught")
    def caught(failure: Any) -> None:
        note(failure)

    @app.task(name="flaky", retry=retry.fixed(0.01, max_retries=3))
    def flaky(failures: int) -> int:
        note(current_task().attempt)
        if current_task().attempt < failures:
            raise ConnectionError("not yet")
        return failures


@pytest.fixture
def make_app(log):
    """Makes apps with the tasks above; they are closed in the end."""
    made = []

    def make(url, *, tasks=True, **settings):
        app = App(url, url, **{"concurrency": 2, **settings})
        hurry(app)
        if tasks:
            _tasks(app, log)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app, url):
    return make_app(url)


@pytest.fixture
def memory_app(make_app, memory_url):
    return make_app(memory_url)


@pytest.fixture
def children(tmp_path, monkeypatch):
    """The module of tasks for child processes, its app on a file of its own, with a worker."""
    url = f"sqlite:///{tmp_path}/work.db"
    monkeypatch.setenv("POOL_TASKS_URL", url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for module in ("pool_tasks", "pool_library"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    import pool_tasks

    with pool_tasks.app:
        yield pool_tasks
    monkeypatch.delitem(sys.modules, "pool_tasks", raising=False)
