"""The mistakes that are made first, in code: each error says what was wrong, with which value, and what to do."""

import ast
import logging
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from drivetrain import (
    App,
    ConfigurationError,
    InvalidArguments,
    InvalidSignature,
    NotSupported,
    ResultTimeout,
    TaskFailed,
    TooLarge,
    UnknownResult,
    chain,
    chord,
    group,
)
from support.faults import Changed, rewire
from support.waiting import until


class Parcel:
    """What nobody can send."""


@pytest.fixture
def app():
    app = App(f"memory://{uuid4().hex}", concurrency=1, version_mismatch_seconds=0)

    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="shop.keep")
    def keep(thing=None):
        return thing

    app.add, app.keep = add, keep
    yield app
    app.close()


def says(error, *words):
    """Every one of these words is in the message."""
    text = str(error.value)
    assert [word for word in words if word not in text] == [], text
    assert len(text) < 1000, "nobody reads so much"


# Arguments


def test_an_argument_of_the_wrong_type(app):
    with pytest.raises(InvalidArguments) as error:
        app.add.send(1, "two")
    says(error, "shop.add()", "'y'", "expects int", "'two' (str)")


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1,), {}, ("shop.add()", "missing argument 'y'")),
        ((1, 2, 3), {}, ("shop.add()", "takes 2 positional arguments but 3 were given")),
        ((1,), {"z": 2}, ("shop.add()", "unexpected keyword argument 'z'")),
    ],
    ids=["too few", "too many", "misspelt"],
)
def test_arguments_that_do_not_fit(app, args, kwargs, words):
    with pytest.raises(InvalidArguments) as error:
        app.add.send(*args, **kwargs)
    says(error, *words)


def test_an_argument_that_cannot_be_serialised(app):
    with pytest.raises(InvalidArguments) as error:
        app.keep.send(Parcel())
    says(error, "shop.keep()", "'thing'", "(Parcel)", "register the type Parcel with the app")


def test_a_payload_that_is_too_large(app):
    rewire(app, broker=Changed(app.runtime.broker, largest_message_bytes=1000))
    with pytest.raises(TooLarge) as error:
        app.keep.s(1).set(headers={"note": "x" * 5000}).send()
    says(error, "message", "bytes", "at most 1000")
    assert error.value.size > 5000


# Options


def test_a_delay_below_zero(app):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(delay=-5)
    says(error, "delay is -5", "seconds or a timedelta, 0 or more")


def test_an_eta_without_a_time_zone(app):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(eta=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the mistake
    says(error, "eta is datetime.datetime(2030, 1, 1, 0, 0)", "no time zone", "datetime.now(timezone.utc)")


@pytest.mark.parametrize("eta", [60, "tomorrow"])
def test_an_eta_that_is_not_a_time(app, eta):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(eta=eta)
    says(error, f"eta is {eta!r}", "aware datetime", "delay=")


def test_a_priority_that_the_broker_has_not(app):
    with pytest.raises(NotSupported) as error:
        app.add.si(1, 2).set(priority=5000).send()
    says(error, "shop.add", "priority 5000", "0 to 9")


@pytest.mark.parametrize("queue", ["", 7])
def test_a_queue_that_is_not_a_name(app, queue):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(queue=queue)
    says(error, f"queue is {queue!r}", "a string that is not empty")
    with pytest.raises(InvalidSignature) as error:
        app.task(name="other", queue=7)(len)
    says(error, "queue is 7")


def test_a_header_that_is_not_a_text(app):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(headers={"tenant": 7})
    says(error, "header 'tenant' is 7", "must be strings")
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(headers={"drivetrain-eta": "now"})
    says(error, "'drivetrain-eta' is reserved")


def test_an_option_of_another_task_queue(app):
    with pytest.raises(InvalidSignature) as error:
        app.add.si(1, 2).set(countdown=3)
    says(error, "unknown option(s) countdown", "; use ", "delay")
    with pytest.raises(InvalidSignature) as error:
        app.task(bind=True)(len)
    says(error, "unknown task option(s): bind; use ", "retry")


def test_a_retry_that_is_a_number(app):
    with pytest.raises(InvalidSignature) as error:
        app.task(name="other", retry=3)(len)
    says(error, "retry is 3", "retry.exponential(max_retries=3)")


def test_a_pool_that_is_not_there(app):
    with pytest.raises(InvalidSignature) as error:
        app.task(name="other", pool="thread")(len)
    says(error, "'other'", "'thread'", "threads, processes, loop")


def test_two_tasks_of_one_name(app):
    with pytest.raises(ConfigurationError) as error:
        app.task(name="shop.add")(len)
    says(error, "'shop.add'", "builtins.len", "name=")


# Workflows


def test_an_empty_chain_is_refused_and_an_empty_group_and_chord_are_none():
    with pytest.raises(InvalidSignature) as error:
        chain()
    says(error, "chain()", "at least one signature")


def test_an_empty_group_results_in_nothing_and_its_callback_runs(app):
    with app.worker():
        assert app.send(group()).get(timeout=20) == []
        assert app.send(chord([], app.keep.s())).get(timeout=20) == []


def test_a_task_where_its_signature_was_meant(app):
    for wrong in (lambda: group([app.add]), lambda: app.add.s(1).set(on_error=[app.add])):
        with pytest.raises(InvalidSignature) as error:
            wrong()
        says(error, "<task shop.add>", "write task.s(…), not task")


def test_one_callback_needs_no_list_and_must_be_a_signature(app):
    assert app.add.s(1).set(on_error=app.keep.s()) == app.add.s(1).set(on_error=[app.keep.s()])
    with pytest.raises(InvalidSignature) as error:
        app.add.s(1).set(on_error=app.add)
    says(error, "on_error", "<task shop.add>", "write task.s(…), not task")


def test_a_call_where_its_signature_was_meant(app):
    with pytest.raises(InvalidSignature) as error:
        group([app.add(1, 2)])
    says(error, "group takes signatures, chains and groups", "not 3")


# Results


def test_a_result_that_does_not_come_in_time(app):
    handle = app.add.send(1, 2)
    with pytest.raises(ResultTimeout) as error:
        handle.get(timeout=0)
    says(error, handle.id, "within 0 seconds", "it is not cancelled, so you can wait again")
    assert isinstance(error.value, TimeoutError)


def test_a_result_that_is_waited_for_in_a_task(app):
    @app.task(name="shop.outer")
    def outer() -> int:
        return app.add.send(1, 2).get(timeout=0.1)  # of the one place there is

    with app.worker(), pytest.raises(TaskFailed) as error:
        outer.send().get(timeout=20)
    text = error.value.failure.message
    assert "Task shop.outer waited for it; a waiting task blocks a worker slot" in text
    assert "chain(…), chord(…)" in text


def test_a_result_that_is_waited_for_in_a_task_without_a_limit(app, caplog, monkeypatch):
    monkeypatch.setattr("drivetrain.app.result._QUIET_SECONDS", 0.01)

    @app.task(name="shop.outer")
    def outer() -> int:
        return app.add.send(1, 2).get()  # of the one place there is

    handle = outer.send()
    with caplog.at_level(logging.WARNING, "drivetrain"), app.worker():
        until(lambda: "waits without a time limit" in caplog.text, "the warning is logged")
        with app.worker():  # another one, which has a place
            assert handle.get(timeout=60) == 3
    assert "task shop.outer waits" in caplog.text
    assert "chain(…), chord(…)" in caplog.text


def test_a_result_of_a_backend_that_stores_nothing():
    with App(f"memory://{uuid4().hex}", "null://") as app:
        task = app.task(name="task")(len)
        with pytest.raises(NotSupported) as error:
            task.send([]).get(timeout=1)
        says(error, "stores no results", "configure a backend")
        with pytest.raises(NotSupported) as error:
            app.send(group(task.s([])))
        says(error, "groups and chords need a backend that stores results", "null://")


def test_a_result_of_an_id_that_was_never_sent(app):
    with pytest.raises(UnknownResult) as error:
        app.result("no-such-id").get(timeout=1)
    says(error, "no-such-id", "never sent to this backend", "expired", "forgotten")


# Workers


def test_a_task_that_no_worker_knows(app):
    handle = app.send(app.signature("shop.ad", 1, 2))
    with app.worker(), pytest.raises(TaskFailed) as error:
        handle.get(timeout=20)
    says(error, "no task named 'shop.ad' is registered", "shop.add", "import the module that defines it")
    [letter] = until(lambda: app.operations.dead_letters("default"), "it is put aside")
    assert letter.reason.startswith("unknown task: ")


def test_a_worker_without_tasks_logs_a_warning(caplog):
    caplog.set_level(logging.INFO, "drivetrain.worker")
    with App(f"memory://{uuid4().hex}") as app, app.worker():
        until(lambda: "receives from default" in caplog.text, "it has begun")
    assert "no task is registered: import the modules that define tasks in the module of the app" in caplog.text


@pytest.mark.parametrize(("queues", "doubted"), [(["defualt"], True), (["defualt", "default"], False)])
def test_a_worker_for_a_queue_without_senders_logs_where_its_tasks_go(app, caplog, queues, doubted):
    caplog.set_level(logging.INFO, "drivetrain.worker")
    with app.worker(queues=queues):
        until(lambda: "receives from defualt" in caplog.text, "it has begun")
    assert ("; it does not serve default, where its own tasks go by default" in caplog.text) is doubted


def test_an_option_of_a_worker_that_is_not_there(app):
    with pytest.raises(ConfigurationError) as error:
        app.worker(concurency=3)
    says(error, "concurency", "; use ", "concurrency")


def test_there_are_more_than_twenty_mistakes():
    """Of both modules: so that nobody counts them down."""
    tests = {
        node.name
        for page in Path(__file__).parent.glob("test_mistakes_*.py")
        for node in ast.parse(page.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(tests) > 35
