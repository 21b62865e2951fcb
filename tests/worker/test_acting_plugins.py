"""Plugins that act: headers that are added to what is sent, and context managers around runs. Errors in them."""

import asyncio
import importlib
import os
import sys
import threading
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivetrain import App, PluginFailed, Retry, State, TaskFailed, chord, current_task, group, hookimpl, retry
from drivetrain.contract import QueueSection
from support.tracing import Tracer, span
from support.waiting import Log


@pytest.fixture
def tracer(tmp_path):
    return Tracer(tmp_path / "spans")


def app_with(*plugins, **options):
    app = App("memory://", plugins=plugins, **options)

    @app.task(name="value")
    def value(x: int) -> int:
        return x

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="later", pool="loop")
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @app.task(name="again", retry=retry.fixed(0, max_retries=2))
    def again(x: int) -> int:
        if current_task().attempt < 2:
            raise ConnectionError("not yet")
        return x

    return app


# A trace through everything


@pytest.mark.parametrize("kind", ["chain", "retry", "chord", "callbacks", "coroutine"])
def test_a_trace_runs_through_a_workflow(tracer, kind):
    with app_with(tracer) as app:
        task = app.signature
        workflow, runs = {
            "chain": (task("value", 1) | task("later") | task("value"), 3),
            "retry": (task("again", 1), 3),
            "chord": (chord([task("value", 1), task("later", 2)], task("total")), 3),
            "callbacks": (task("value", 1).set(on_success=[task("value")]), 2),
            "coroutine": (task("later", 1), 1),
        }[kind]
        with span() as sender:
            handle = app.send(workflow)
        app.worker().drain()
        handle.get(timeout=0)
    spans = tracer.spans()
    assert len(spans) == runs
    assert {(each["trace"], each["parent"]) for each in spans} == {(sender.trace, sender.id)}
    assert len({each["id"] for each in spans}) == runs
    assert len({each["workflow"] for each in spans}) == 1
    assert (spans[0]["workflow"] == "") is (kind in {"retry", "coroutine"})
    assert [each["attempt"] for each in spans] == ([0, 1, 2] if kind == "retry" else [0] * runs)


def test_what_a_task_sends_is_part_of_its_own_span(tracer):
    with app_with(tracer) as app:

        @app.task(name="outer")
        def outer() -> None:
            app.signature("value", 1).send()

        with span() as sender:
            app.send(app.signature("outer"))
        app.worker().drain()
    outer_span, inner_span = tracer.spans()
    assert outer_span["parent"] == sender.id
    assert (inner_span["trace"], inner_span["parent"]) == (sender.trace, outer_span["id"])


@pytest.fixture
def child_app(tmp_path, monkeypatch):
    """The app of `trace_tasks`, whose tasks run in child processes, and the tracer that reads what they noted."""
    monkeypatch.setenv("TRACE_TASKS_URL", f"sqlite:///{tmp_path}/work.db")
    monkeypatch.setenv("TRACE_TASKS_FILE", str(tmp_path / "spans"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "trace_tasks", raising=False)
    module = importlib.import_module("trace_tasks")
    with module.app:
        yield module, Tracer(tmp_path / "spans")
    monkeypatch.delitem(sys.modules, "trace_tasks", raising=False)


def test_a_trace_runs_through_child_processes(child_app):
    tasks, tracer = child_app
    with tasks.app.worker():
        with span() as sender:
            handles = [task.send() for task in (tasks.traced, tasks.traced_coroutine, tasks.raising)]
        assert [handle.get(timeout=60) for handle in handles[:2]] == [sender.trace] * 2
        with pytest.raises(TaskFailed, match="on purpose"):
            handles[2].get(timeout=60)
    spans = {(each["task"].rpartition(".")[2], each["attempt"]): each for each in tracer.spans()}
    assert set(spans) == {("traced", 0), ("traced_coroutine", 0), ("raising", 0), ("raising", 1)}
    assert {(each["trace"], each["parent"]) for each in spans.values()} == {(sender.trace, sender.id)}
    assert {name for (name, _), each in spans.items() if each["pid"] == os.getpid()} == {"traced_coroutine"}
    assert all(each["worker"] for each in spans.values())
    assert [each.get("error") for each in spans.values() if each["task"].endswith("raising")] == ["LookupError"] * 2


def test_an_observer_in_a_child_process_gets_the_times_too(child_app):
    tasks, tracer = child_app
    with tasks.app.worker(), pytest.raises(TaskFailed):
        tasks.raising.send().get(timeout=60)
    raised = [note for note in tracer.notes() if "raised" in note]
    assert [note["state"] for note in raised] == [State.RETRY, State.FAILURE]
    for note in raised:
        assert note["times"] == sorted(note["times"])


def test_a_plugin_that_fails_in_a_child_process_fails_the_task(child_app):
    tasks, _ = child_app
    with tasks.app.worker(), pytest.raises(TaskFailed) as raised:
        tasks.traced.s().set(headers={"fail": "yes"}).send().get(timeout=60)
    assert raised.value.failure.message == "the plugin Tracer failed in its hook around_run: OSError: as it was told"


# Contexts


@contextmanager
def tenant(variable, name):
    token = variable.set(name)
    try:
        yield
    finally:
        variable.reset(token)


@pytest.mark.parametrize("pool", ["threads", "loop"])
def test_context_variables_of_one_task_are_not_seen_by_another(pool):
    variable, seen = ContextVar("tenant", default=None), Log()
    together = threading.Barrier(4)

    class Tenants:
        @hookimpl
        def publish_headers(self, event):
            return {"tenant": variable.get()} if variable.get() else None

        @hookimpl
        def around_run(self, event):
            name = event.headers.get("tenant")
            return None if name is None else tenant(variable, name)

    app = App("memory://", plugins=[Tenants()], concurrency=4)

    @app.task(name="plain", pool="threads")
    def plain(expected: str | None) -> None:
        before = variable.get()
        together.wait(60)
        variable.set("left behind")
        seen.note(before, expected)

    @app.task(name="coroutine", pool="loop")
    async def coroutine(expected: str | None) -> None:
        before = variable.get()
        for _ in range(3):
            await asyncio.sleep(0)
        seen.note((before, variable.get()), (expected, expected))
        variable.set("left behind")

    name = "plain" if pool == "threads" else "coroutine"
    with app, app.worker():
        for number in range(40):
            expected = None if number % 4 == 3 else f"tenant {number}"
            with nullcontext() if expected is None else tenant(variable, expected):
                app.signature(name, expected).send()
        noted = seen.wait_for(40)
    assert [before for before, _ in noted] == [expected for _, expected in noted]
    assert variable.get() is None


def test_the_first_plugin_s_context_is_the_outermost():
    steps = []

    def plugin(name):
        class Steps:
            @hookimpl
            @contextmanager
            def around_run(self, event):
                steps.append(f"{name} in")
                yield
                steps.append(f"{name} out")

        return Steps()

    with app_with(plugin("a"), plugin("b")) as app:
        app.send(app.signature("value", 1))
        app.worker().drain()
    assert steps == ["a in", "b in", "b out", "a out"]


def test_a_later_plugin_sees_the_headers_of_an_earlier_one_and_may_replace_them():
    class First:
        @hookimpl
        def publish_headers(self, event):
            return {"x": event.headers["sent"] + " first", "y": "y"}

    class Second:
        @hookimpl
        def publish_headers(self, event):
            return {"x": event.headers["x"] + " second"}

    seen = []
    with app_with(First(), Second()) as app:

        @app.task(name="look")
        def look() -> None:
            seen.append(dict(current_task().headers))

        app.send(app.signature("look").set(headers={"sent": "by me"}))
        app.worker().drain()
    assert seen == [
        {"sent": "by me", "x": "by me first second", "y": "y"},
    ]


# Errors


class AddsHeaders:
    """Returns, or raises, what it is given."""

    def __init__(self, answer):
        self._answer = answer

    @hookimpl
    def publish_headers(self, event):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (LookupError("dear me"), "LookupError: dear me"),
        (5, "it returned 5, which is not a mapping of headers"),
        ({"x": 5}, "header names and values must be strings"),
        ({"drivetrain-x": "y"}, "is reserved"),
    ],
)
def test_a_plugin_that_fails_when_a_task_is_sent_refuses_the_workflow(answer, problem):
    with app_with(AddsHeaders(answer)) as app:
        with pytest.raises(PluginFailed, match=problem) as raised:
            app.send(app.signature("value", 1) | app.signature("value"))
        assert (raised.value.plugin, raised.value.hook) == ("the plugin AddsHeaders", "publish_headers")
        assert str(raised.value).startswith("the plugin AddsHeaders failed in its hook publish_headers: ")
        assert app.operations.sizes()["default"].ready == 0
        assert app.runtime.backend.counts()["tasks"] == 0


def test_a_task_that_sends_fails_by_the_error_of_the_plugin():
    plugin = AddsHeaders(None)
    with app_with(plugin) as app:

        @app.task(name="outer")
        def outer() -> None:
            plugin._answer = LookupError("dear me")
            app.send(app.signature("value", 1))

        handle = app.send(app.signature("outer"))
        app.worker().drain()
        with pytest.raises(TaskFailed, match="the plugin AddsHeaders failed in its hook publish_headers"):
            handle.get(timeout=0)


class Surrounds:
    """Fails at a point around the run."""

    def __init__(self, point):
        self._point = point

    @hookimpl
    def around_run(self, event):
        self._fail("call")
        return 5 if self._point == "nothing" else self._around()

    @contextmanager
    def _around(self):
        self._fail("enter")
        try:
            yield
        except ConnectionError:
            self._fail("exit after an error")
            if self._point != "suppress":
                raise
        else:
            self._fail("exit")

    def _fail(self, point):
        if self._point == point:
            raise OSError(f"failed at {point}")


@pytest.mark.parametrize("name", ["value", "later"])
@pytest.mark.parametrize("point", ["call", "enter", "exit"])
def test_a_plugin_that_fails_around_a_run_fails_the_task(point, name):
    with app_with(Surrounds(point)) as app:
        handle = app.send(app.signature(name, 1))
        app.worker().drain()
        with pytest.raises(TaskFailed) as raised:
            handle.get(timeout=0)
    failure = raised.value.failure
    assert failure.message == f"the plugin Surrounds failed in its hook around_run: OSError: failed at {point}"
    assert failure.type == "drivetrain.contract.errors.PluginFailed"
    assert "_fail" in failure.traceback


def test_the_error_names_an_object_that_is_not_a_context_manager():
    with app_with(Surrounds("nothing")) as app:
        handle = app.send(app.signature("value", 1))
        app.worker().drain()
        with pytest.raises(TaskFailed, match="it returned 5, which is not a context manager"):
            handle.get(timeout=0)


@pytest.mark.parametrize("point", ["exit after an error", "suppress"])
def test_the_error_of_the_function_stays_the_error_of_the_task(point, caplog):
    with app_with(Surrounds(point)) as app:

        @app.task(name="fails")
        def fails() -> None:
            raise ConnectionError("the function's own")

        handle = app.send(app.signature("fails"))
        again = app.send(app.signature("again", 7))
        app.worker().drain()
        with pytest.raises(TaskFailed, match="the function's own"):
            handle.get(timeout=0)
        assert again.get(timeout=0) == 7
    logged = [record for record in caplog.records if record.name == "drivetrain.plugins"]
    assert bool(logged) is (point != "suppress")
    assert all("the plugin Surrounds raised an error at the end" in record.getMessage() for record in logged)


def test_an_error_of_a_plugin_is_retried_as_the_policy_says_of_its_own_type():
    class Flaky:
        @hookimpl
        def around_run(self, event):
            if event.attempt == 0:
                raise ConnectionError("no connection to the database")

    with app_with(Flaky()) as app:

        @app.task(name="matching", retry=retry.fixed(0, max_retries=1, retry_on=[ConnectionError]))
        def matching() -> int:
            return current_task().attempt

        @app.task(name="other", retry=retry.fixed(0, max_retries=1, retry_on=[LookupError]))
        def other() -> int:
            return current_task().attempt

        handles = [app.send(app.signature(name)) for name in ("matching", "other")]
        app.worker().drain()
        assert handles[0].get(timeout=0) == 1
        with pytest.raises(TaskFailed, match="no connection to the database"):
            handles[1].get(timeout=0)


def test_a_task_may_ask_for_a_retry_within_the_context(tracer):
    with app_with(tracer) as app:

        @app.task(name="asks")
        def asks() -> int:
            if current_task().attempt == 0:
                raise Retry
            return current_task().attempt

        handle = app.send(app.signature("asks"))
        app.worker().drain()
        assert handle.get(timeout=0) == 1
    assert [each.get("error") for each in tracer.spans()] == ["Retry", None]


# What observers get


class Notes:
    """Notes the events of every hook."""

    def __init__(self):
        self.events = Log()

    def _note(self, hook, event):
        self.events.note(hook, event)

    @hookimpl
    def publish_headers(self, event):
        self._note("publish_headers", event)

    @hookimpl
    def task_received(self, event):
        self._note("received", event)

    @hookimpl
    def task_started(self, event):
        self._note("started", event)

    @hookimpl
    def around_run(self, event):
        self._note("around", event)

    @hookimpl
    def task_raised(self, event):
        self._note("raised", event)

    @hookimpl
    def task_retrying(self, event):
        self._note("ended", event)

    @hookimpl
    def task_succeeded(self, event):
        self._note("ended", event)

    @hookimpl
    def task_failed(self, event):
        self._note("ended", event)

    @hookimpl
    def task_expired(self, event):
        self._note("ended", event)


@pytest.fixture
def notes():
    return Notes()


def test_observers_get_the_times_the_outcome_and_the_workflow(notes):
    with app_with(notes) as app:
        app.send(app.signature("again", 1))
        app.worker().drain()
    assert [(hook, event.attempt, event.state) for hook, event in notes.events.notes] == [
        ("publish_headers", 0, None),
        *[
            step
            for attempt in (0, 1)
            for step in (
                ("received", attempt, None),
                ("started", attempt, None),
                ("around", attempt, None),
                ("raised", attempt, State.RETRY),
                ("ended", attempt, State.RETRY),
            )
        ],
        *[(hook, 2, None) for hook in ("received", "started", "around")],
        ("ended", 2, State.SUCCESS),
    ]
    sent, *others = (event for _, event in notes.events.notes)
    assert (sent.published_at, sent.received_at, sent.worker) == (None, None, "")
    ends = [event for hook, event in notes.events.notes if hook == "ended"]
    for event in ends:
        times = [event.published_at, event.received_at, event.started_at, event.ended_at]
        assert times == sorted(times)
    assert len({event.published_at for event in ends}) == 3, "each attempt was published at its own time"
    for event in others:
        assert event.published_at is not None
        assert event.received_at is not None
        assert event.workflow == ""


def test_observers_get_the_due_time_and_a_task_without_a_run_has_no_start(notes):
    with app_with(notes) as app:
        due, past = datetime.now(UTC), datetime(2020, 1, 1, tzinfo=UTC)
        app.send(app.signature("value", 1).set(eta=due))
        app.send(app.signature("value", 2).set(expires=past))
        app.worker().drain()
    succeeded, expired = sorted(
        (event for hook, event in notes.events.notes if hook == "ended"), key=lambda event: event.state, reverse=True
    )
    assert (succeeded.state, succeeded.due_at) == (State.SUCCESS, pytest.approx(due.timestamp()))
    assert (expired.state, expired.started_at, expired.ended_at) == (State.EXPIRED, None, None)


def test_all_tasks_of_a_workflow_name_it(notes):
    with app_with(notes) as app:
        task = app.signature
        workflow = task("value", 1).set(task_id="first") | chord([task("value"), task("later")], task("total"))
        app.send(workflow)
        app.send(task("value", 5).set(task_id="alone"))
        app.worker().drain()
    named = {(event.task_id == "alone", event.workflow) for _, event in notes.events.notes}
    assert named == {(False, "first"), (True, "")}
    assert not any("drivetrain-workflow" in event.headers for _, event in notes.events.notes)


def test_where_no_plugin_listens_messages_carry_nothing_for_it(notes):
    def headers(*plugins):
        with app_with(*plugins) as app:
            app.send(app.signature("value", 1) | app.signature("value"))
            [message] = app.runtime.broker.peek("default", QueueSection.READY, limit=9)
            return set(message.headers)

    assert headers() == {"content-type", "drivetrain-workflow"}
    assert headers(notes) == {"content-type", "drivetrain-published", "drivetrain-workflow"}


def test_headers_reach_the_deepest_task_of_a_workflow(tracer):
    with app_with(tracer) as app:
        workflow = app.signature("value")
        for _ in range(49):
            workflow = app.signature("value").set(on_success=[group([workflow])])
        workflow = group([app.signature("value", 1).set(on_success=[workflow])])
        with span() as sender:
            app.send(workflow)
        app.worker().drain()
    assert len(tracer.spans()) == 51
    assert {each["trace"] for each in tracer.spans()} == {sender.trace}
