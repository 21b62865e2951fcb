"""Observers: all are called, in order, whatever one of them raises; and only if the app names them."""

import inspect
import logging
import sys

import attrs
import pytest

from drivetrain import App, TaskFailed, current_task, retry
from drivetrain.app.discovery import Drivers
from drivetrain.app.observers import Observers
from drivetrain.contract import DriverBroken, DriverContext, DriverNotFound, TaskEvent, hookimpl
from drivetrain.contract import hookspecs as specs

EVENT = TaskEvent(task_id="1", task="add", attempt=0, queue="default", headers={})
HOOKS = [name for name in vars(specs.ObserverHooks) if not name.startswith("_")]


@attrs.define
class Watching:
    name: str
    seen: list

    @hookimpl
    def task_started(self, event):
        self.seen.append((self.name, event))


class Raising:
    @hookimpl
    def task_started(self):
        raise RuntimeError("dear me")


def observers(*plugins) -> Observers:
    return Drivers(DriverContext(), plugins=plugins).observers


def test_every_hook_of_the_contract_reaches_its_observers():
    assert HOOKS
    for hook in HOOKS:
        names = [name for name in inspect.signature(getattr(specs.ObserverHooks, hook)).parameters if name != "self"]
        heard = []
        scope = {"heard": heard}
        exec(f"def {hook}(self, {', '.join(names)}): heard.append([{', '.join(names)}])", scope)
        plugin = type("Plugin", (), {hook: hookimpl(scope[hook])})()
        told = observers(plugin)
        assert [each for each in HOOKS if told.watches(each)] == [hook]
        arguments = {name: object() for name in names}
        told.notify(hook, **arguments)
        assert heard == [list(arguments.values())]


def test_a_hook_without_observers_costs_nothing():
    told = observers()
    assert not any(told.watches(hook) for hook in HOOKS)
    told.notify("task_started", event=EVENT)


def test_all_are_called_in_the_app_s_order():
    seen = []
    observers(Watching("a", seen), Watching("b", seen)).notify("task_started", event=EVENT)
    assert seen == [("a", EVENT), ("b", EVENT)]


def test_equal_observers_are_still_separate():
    seen = []
    made = Drivers(DriverContext(), plugins=[Watching("a", seen), Watching("a", seen)])
    made.observers.notify("task_started", event=EVENT)
    assert len(seen) == 2
    assert made.broker("memory://")


def test_what_one_raises_is_logged_by_name_and_the_others_are_called(caplog):
    seen = []
    with caplog.at_level(logging.ERROR, "drivetrain.observers"):
        observers(Raising(), Watching("a", seen)).notify("task_started", event=EVENT)
    assert len(seen) == 1
    assert "observer the plugin Raising raised an error in its hook task_started" in caplog.text
    assert "dear me" in caplog.text


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def task_startd(self, event): ...", "task_startd"),
        ("def task_started(self, evnt): ...", "evnt"),
    ],
)
def test_a_plugin_that_does_not_fit_is_reported_when_the_app_is_made(source, told):
    scope = {}
    exec(source, scope)
    [(name, function)] = [(name, value) for name, value in scope.items() if callable(value)]
    with pytest.raises(DriverBroken, match="the plugin Odd does not fit") as caught:
        observers(type("Odd", (), {name: hookimpl(function)})())
    assert told in str(caught.value)


class Meddling:
    """Tries to change whatever it is given."""

    @hookimpl
    def before_publish(self, messages):
        messages[0].headers["x-trace"] = "put in before it is published"

    @hookimpl
    def after_publish(self, messages):
        messages[0].headers["x-trace"] = "put in after it was published"

    @hookimpl
    def task_received(self, event):
        event.headers["x-trace"] = "put in when it was received"

    @hookimpl
    def task_started(self, event):
        event.headers["x-trace"] = "put in when it was started"

    @hookimpl
    def task_retrying(self, event, failure):
        failure.kwargs["x"] = "changed before the retry"

    @hookimpl
    def task_failed(self, event, failure):
        failure.kwargs["x"] = "changed after the failure"


@pytest.mark.parametrize("headers", [{}, {"x-sent": "1"}])
def test_an_observer_that_would_change_something_fails_in_the_log_and_changes_nothing(headers, caplog):
    app = App("memory://", plugins=[Meddling()])
    seen = []

    @app.task(name="fail", retry=retry.fixed(0, max_retries=1))
    def fail(*, x):
        seen.append((x, dict(current_task().headers)))
        raise ValueError(x)

    with app, caplog.at_level(logging.ERROR, "drivetrain.observers"):
        handle = fail.s(x=1).set(headers=headers).send()
        app.worker().drain()
        with pytest.raises(TaskFailed) as raised:
            handle.get(timeout=0)
    assert seen == [(1, headers)] * 2
    assert raised.value.failure.kwargs == {"x": 1}
    logged = [record for record in caplog.records if record.name == "drivetrain.observers"]
    refused = {record.getMessage() for record in logged if record.exc_info[0] is TypeError}
    meddled = [name for name in vars(Meddling) if not name.startswith("_")]
    assert refused == {
        f"observer the plugin Meddling raised an error in its hook {name}; ignoring it" for name in meddled
    }


def test_a_task_cannot_change_the_headers_of_its_retry():
    app = App("memory://")
    seen = []

    @app.task(name="fail", retry=retry.fixed(0, max_retries=1))
    def fail():
        seen.append(dict(current_task().headers))
        current_task().headers["x-sent"] = "changed by the task"

    with app:
        handle = fail.s().set(headers={"x-sent": "1"}).send()
        app.worker().drain()
        with pytest.raises(TaskFailed, match="does not support item assignment"):
            handle.get(timeout=0)
    assert seen == [{"x-sent": "1"}] * 2


WATCHING = """
from drivetrain.contract import hookimpl
seen = []
@hookimpl
def worker_stopping(worker):
    seen.append(worker)
"""


def test_installed_plugins_are_loaded_only_if_named(site):
    module = site.install("fake-metrics", "[drivetrain.plugins]\nmetrics=MODULE", WATCHING)
    assert not observers().watches("worker_stopping")
    assert module not in sys.modules
    observers("metrics").notify("worker_stopping", worker="w1")
    assert sys.modules[module].seen == ["w1"]


def test_plugins_that_are_missing_or_broken(site):
    site.install("fake-bad", "[drivetrain.plugins]\nbad=MODULE", "raise RuntimeError('dear me')")
    with pytest.raises(DriverBroken, match=r"the plugin 'bad' of fake-bad 1\.0 cannot be imported"):
        observers("bad")
    with pytest.raises(DriverNotFound, match=r"the plugin 'bda'.*did you mean bad"):
        observers("bda")


def test_one_plugin_given_twice_is_taken_once():
    seen = []
    plugin = Watching("a", seen)
    observers(plugin, plugin).notify("task_started", event=EVENT)
    assert len(seen) == 1
