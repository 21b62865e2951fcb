"""Finding tasks: on a backend that lists, on one that lists a part, and where only queues and workers show them."""

import threading
from datetime import timedelta

import pytest

from drivetrain import App, retry
from drivetrain.app.finding import TaskFilter
from drivetrain.contract import ConfigurationError, NotSupported, State, TaskPage, TaskReach, evolve
from drivetrain.drivers.memory import MemoryBackend


class Lists(MemoryBackend):
    """Lists as far as its reach."""

    reach = TaskReach.FAILED

    @property
    def capabilities(self):
        return evolve(MemoryBackend.capabilities, lists_tasks=self.reach)

    def list_tasks(self, states, *, limit, cursor=None):
        states &= self.reach.states
        return super().list_tasks(states, limit=limit, cursor=cursor) if states else TaskPage()


def names(page):
    return [task.task for task in page.tasks]


def everything(app, **conditions):
    """The names on all pages, and the pages."""
    pages = [app.operations.find(**conditions)]
    while pages[-1].cursor is not None:
        pages.append(app.operations.find(**conditions, cursor=pages[-1].cursor))
    return [name for page in pages for name in names(page)], pages


@pytest.fixture
def app():
    """An app whose tasks have succeeded, failed, wait and will be tried again; by a worker that has stopped."""
    with App("memory://") as app:

        @app.task(name="mails.send", queue="mails")
        def send(to: str) -> None:
            if "@" not in to:
                raise ValueError(f"no such recipient: {to}")

        @app.task(name="sums.add", retry=retry.fixed(3600))
        def add(x: int) -> int:
            if x < 0:
                raise OverflowError("too small")
            return x

        for to in ("a@b", "nobody", "c@d"):
            send.send(to)
        add.send(1)
        add.send(-1)
        app.worker(queues=["mails", "default"], name="w-1").drain()
        send.send("later@b")
        yield app


class TestListed:
    def test_by_state(self, app):
        assert names(app.operations.find(state="failure")) == ["mails.send"]
        assert names(app.operations.find(state=State.RETRY)) == ["sums.add"]
        assert names(app.operations.find(state=[State.PENDING, "retry"])) == ["mails.send", "sums.add"]
        assert len(app.operations.find().tasks) == 6

    def test_by_everything_else(self, app):
        find = app.operations.find
        assert len(find(task="mails.*").tasks) == 4
        assert len(find(queue="mails", state="success").tasks) == 2
        assert len(find(worker="w-*").tasks) == 5
        assert names(find(text="RECIPIENT: nobody")) == ["mails.send"]
        assert names(find(text="too small")) == ["sums.add"]
        assert len(find(since=timedelta(hours=1)).tasks) == 6
        assert find(since=app.runtime.clock.now() + 60).tasks == []
        (task,) = find(state="failure").tasks
        assert find(task_id=task.task_id).tasks == [task]
        assert find(task_id=task.task_id, state="success").tasks == []
        assert find(task_id="unknown").tasks == []
        assert find(TaskFilter(states=(State.FAILURE,))).tasks == [task]

    def test_what_is_shown(self, app):
        (task,) = app.operations.find(state="failure").tasks
        assert (task.queue, task.worker, task.attempt) == ("mails", "w-1", 0)
        assert task.failure == "builtins.ValueError: no such recipient: nobody"
        assert task.sent is not None
        assert task.sent <= task.changed

    def test_by_pages(self, app):
        for limit in (1, 2, 5):
            for conditions in ({}, {"task": "mails.*"}, {"text": "send"}):
                found, pages = everything(app, limit=limit, **conditions)
                assert len(found) == (4 if conditions else 6)
                assert all(len(page.tasks) <= limit for page in pages)

    def test_it_searched_everything(self, app):
        reach = app.operations.find().reach
        assert (reach.states, reach.sources, reach.notices) == (frozenset(State), ("backend",), ())


class TestMistakes:
    @pytest.mark.parametrize(
        ("conditions", "error"),
        [
            ({"limit": 0}, "limit is 0; use a number from 1 to 1000"),
            ({"limit": 1001}, "limit is 1001"),
            ({"state": "failed"}, "no state 'failed'"),
            ({"cursor": "x"}, "'x' is not a cursor of this search"),
            ({"cursor": "WzFd"}, "'WzFd' is not a cursor of this search"),
            ({"where": TaskFilter(), "task": "a"}, "has both `where` and other conditions"),
        ],
    )
    def test_are_named(self, app, conditions, error):
        with pytest.raises(ConfigurationError, match=error):
            app.operations.find(**conditions)

    def test_a_cursor_belongs_to_its_search(self, app):
        cursor = app.operations.find(task="mails.*", limit=1).cursor
        with pytest.raises(ConfigurationError, match="not a cursor of this search"):
            app.operations.find(task="sums.*", limit=1, cursor=cursor)
        assert app.operations.find(task="mails.*", since=timedelta(hours=1), limit=1, cursor=cursor).tasks


@pytest.fixture
def lesser(app, monkeypatch):
    """Makes the backend list less; gives a function for that."""

    def limit(reach):
        monkeypatch.setattr(Lists, "reach", reach)
        monkeypatch.setattr(app.runtime.backend, "__class__", Lists)
        return app.operations

    return limit


class TestLesserReach:
    def test_what_succeeded_is_said_to_be_left_out(self, lesser):
        page = lesser(TaskReach.FAILED).find()
        assert {task.state for task in page.tasks} == {State.PENDING, State.RETRY, State.FAILURE}
        assert State.SUCCESS not in page.reach.states
        (notice,) = page.reach.notices
        assert notice.startswith("tasks that succeeded are not listed; index=all in the URL of the backend would list")

    def test_what_succeeded_is_found_among_what_workers_remember(self, app, lesser):
        operations = lesser(TaskReach.FAILED)
        with app.worker(queues=["mails"], name="w-2"):
            while not (page := operations.find(state="success")).tasks:
                assert not threading.Event().wait(0.05)
        assert names(page) == ["mails.send"]
        assert page.reach.sources == ("workers",)
        assert "the last 20 that ended" in " ".join(page.reach.notices)

    def test_where_nothing_is_listed_queues_show_what_waits(self, lesser):
        page = lesser(TaskReach.NONE).find()
        assert {task.state for task in page.tasks} == {State.PENDING, State.RETRY}
        assert page.reach.sources == ("queues", "workers")
        assert "the first 1,000 messages" in page.reach.notices[0]

    def test_an_id_is_looked_up_anyway(self, app, lesser):
        (task,) = app.operations.find(state="failure").tasks
        assert lesser(TaskReach.NONE).find(task_id=task.task_id).tasks == [task]


def test_null_shows_the_messages_that_wait():
    with App("memory://", backend="null://") as app:

        @app.task(name="a", queue="q")
        def a() -> None:
            """Do nothing."""

        a.send()
        page = app.operations.find()
        assert [(task.task, task.queue, task.state) for task in page.tasks] == [("a", "q", State.PENDING)]
        assert app.operations.find(task="b").tasks == []
        assert any("Not searched: tasks that run" in notice for notice in page.reach.notices)
        with pytest.raises(NotSupported, match="cannot find tasks that succeeded: .* look a task up by its id"):
            app.operations.find(state="success")
        with pytest.raises(NotSupported, match="null:// stores nothing"):
            app.operations.find(task_id="x")
