"""Habits of other task queues: their methods say what to write, and blocking calls on an event loop warn."""

import asyncio
import pickle
import warnings

import pytest

import drivetrain
from drivetrain import App, BlockingCallWarning, DrivetrainError, UnknownMethod, chain, group
from drivetrain.testing import VirtualTime


@pytest.fixture
def app():
    with App("memory://") as app:
        yield app


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


@pytest.mark.parametrize("name", ["delay", "apply_async", "apply", "send_with_options", "kiq", "enqueue", "defer"])
def test_a_task_names_its_own_way_to_be_sent(add, name):
    with pytest.raises(UnknownMethod, match=rf"task add has no '{name}', which other .*; use .*(send|call)"):
        getattr(add, name)
    assert not hasattr(add, name)


def test_the_error_is_an_attribute_error_of_our_tree_and_can_be_pickled(add):
    with pytest.raises(AttributeError) as raised:
        add.delay(1, 2)
    assert isinstance(raised.value, DrivetrainError)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_other_names_are_unknown_as_everywhere(add):
    with pytest.raises(AttributeError, match="task add has no attribute 'nonsense'") as raised:
        add.nonsense  # noqa: B018
    assert not isinstance(raised.value, UnknownMethod)


def test_an_attribute_of_the_function_is_not_hidden(app):
    def function() -> None: ...

    function.delay = "mine"
    assert app.task(name="own")(function).delay == "mine"


@pytest.mark.parametrize("make", [lambda one: one, chain, group], ids=["signature", "chain", "group"])
def test_a_workflow_names_its_own_way_to_be_sent(add, make):
    with pytest.raises(UnknownMethod, match=r"use set\(delay=…, queue=…\)\.send\(\)"):
        make(add.s(1, 2)).apply_async()


def test_a_result_an_app_and_the_current_task_name_their_own(app, add):
    with pytest.raises(UnknownMethod, match=r"use wait\(0\)"):
        add.send(1, 2).ready()
    with pytest.raises(UnknownMethod, match=r"use send\(app\.signature\(name, …\)\)"):
        app.send_task("add", 1, 2)
    seen = []

    @app.task(name="looks")
    def looks() -> None:
        with pytest.raises(UnknownMethod, match=r"use raise Retry"):
            drivetrain.current_task().retry()
        seen.append(True)

    with VirtualTime(app) as time:
        looks.send()
        time.run_ready()
    assert seen == [True]


def test_what_observers_need_is_in_the_package():
    for name in ("Failure", "Interruption", "Message", "Settlement", "State", "TaskEvent", "hookimpl"):
        assert hasattr(drivetrain, name)


def test_blocking_calls_on_an_event_loop_warn_once_for_each_line(app, add):
    async def code():
        for _ in range(3):
            handle = add.send(1, 2)
        handle.wait(0)
        with pytest.raises(drivetrain.ResultTimeout):
            handle.get(timeout=0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        asyncio.run(code())
    assert [str(one.message).split(" blocks")[0] for one in caught] == ["send()", "result.wait()", "result.get()"]
    assert {one.filename for one in caught} == {__file__}
    assert all(one.category is BlockingCallWarning for one in caught)


def test_calls_that_do_not_block_do_not_warn(app, add):
    async def code():
        handle = await add.send_async(1, 2)
        await app.send_many_async([add.si(1, 2)])
        with pytest.raises(drivetrain.ResultTimeout):
            await handle.get_async(timeout=0)

    with warnings.catch_warnings():
        warnings.simplefilter("error", BlockingCallWarning)
        asyncio.run(code())
        add.send(1, 2)
