"""Blueprints: tasks of a library that belong to no app until one includes them."""

import pytest

from drivetrain import App, AsyncTask, Blueprint, ConfigurationError, InvalidSignature, Task, chain, chord
from drivetrain.testing import VirtualTime


@pytest.fixture
def app():
    with App("memory://") as app:
        yield app


def _library():
    sums = Blueprint("sums", queue="sums")

    @sums.task(name="add", priority=1)
    def add(x: int, y: int) -> int:
        return x + y

    @sums.task(name="total", queue="totals")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    return sums, add, total


def test_tasks_are_sent_by_the_app_that_includes_them(app):
    sums, add, total = _library()
    workflow = chord([add.s(1, 2), add.s(3, 4)], total.s())  # before any app knows them
    app.include(sums)
    with VirtualTime(app) as time:
        sent, handle = add.send(1, 2), workflow.send()
        time.run_ready()
        assert (sent.get(timeout=0), handle.get(timeout=0)) == (3, 10)
    defaults = app.tasks["add"].defaults
    assert (defaults.queue, defaults.priority, app.tasks["total"].defaults.queue) == ("sums", 1, "totals")


def test_a_task_that_is_declared_later_is_registered_too(app):
    sums, _, _ = _library()
    app.include(sums)

    @sums.task(name="late")
    async def late() -> int:
        return 1

    assert isinstance(late, AsyncTask)
    assert "late" in app.tasks
    assert late.definition is app.tasks["late"]


def test_a_task_can_be_called_without_any_app():
    _, add, _ = _library()
    assert isinstance(add, Task)
    assert add(1, 2) == 3
    assert add.name == "add"


def test_sending_before_an_app_includes_it_says_what_to_do():
    _, add, _ = _library()
    with pytest.raises(ConfigurationError, match=r"no app includes the blueprint 'sums' yet.*app\.include"):
        add.send(1, 2)


def test_two_apps_may_include_it_and_each_sends_signatures(app):
    sums, add, _ = _library()
    with App("memory://") as other:
        app.include(sums)
        other.include(sums)
        with pytest.raises(ConfigurationError, match=r"2 apps include the blueprint 'sums'.*app\.send\(task\.si"):
            add.send(1, 2)
        with VirtualTime(other) as time:
            handle = other.send(chain(add.s(1, 2), add.s(3)))
            time.run_ready()
            assert handle.get(timeout=0) == 6


def test_wrong_options_and_functions_are_refused_where_they_are_declared():
    sums, _, _ = _library()
    with pytest.raises(InvalidSignature, match="unknown task option"):
        sums.task(nonsense=1)(lambda: 1)
    with pytest.raises(InvalidSignature, match="unknown task option"):
        Blueprint("sums", nonsense=1)
    with pytest.raises(InvalidSignature, match="it is a class"):
        sums.task(int)


def test_two_tasks_of_one_name_are_an_error_of_the_app(app):
    sums, _, _ = _library()
    app.task(name="add")(lambda: 1)
    with pytest.raises(ConfigurationError, match="two tasks are named 'add'"):
        app.include(sums)
