"""What one task does must not reach another: contexts, errors that cannot be shown, stopped loops, closed files."""

import asyncio
import contextvars
import decimal
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass

import pytest

from drivetrain import State, TaskFailed, current_task, retry
from drivetrain.testing import VirtualTime
from drivetrain.worker.pools.reference import TaskReference
from support.faults import hurry
from support.processes import alive
from support.waiting import happened, until

user = contextvars.ContextVar("user", default="nobody")

# Contexts


def _spoil() -> None:
    user.set("alice")
    decimal.getcontext().prec = 3


def _look() -> list[str]:
    return [user.get(), str(decimal.Decimal(1) / 3)]


CLEAN = ["nobody", "0.3333333333333333333333333333"]


async def _spoil_async() -> None:
    _spoil()


async def _look_async() -> list[str]:
    return _look()


@pytest.mark.parametrize(("spoil", "look"), [(_spoil, _look), (_spoil_async, _look_async)], ids=["threads", "loop"])
def test_what_a_task_puts_into_its_context_no_other_task_finds(make_app, memory_url, spoil, look):
    app = make_app(memory_url)
    app.task(name="spoil")(spoil)
    app.task(name="look")(look)
    with app.worker(concurrency=1, loop_concurrency=1):
        for _ in range(2):
            app.send(app.signature("spoil")).get(timeout=60)
            assert app.send(app.signature("look")).get(timeout=60) == CLEAN


@pytest.mark.parametrize(("spoil", "look"), [(_spoil, _look), (_spoil_async, _look_async)], ids=["plain", "async"])
def test_no_task_finds_what_another_left_in_virtual_time_nor_does_the_test(make_app, memory_url, spoil, look):
    app = make_app(memory_url)
    app.task(name="spoil")(spoil)
    app.task(name="look")(look)
    with VirtualTime(app) as time:
        app.send(app.signature("spoil"))
        handle = app.send(app.signature("look"))
        time.run_ready()
        assert handle.get(timeout=1) == CLEAN
    assert _look() == CLEAN


@pytest.mark.parametrize("look", [_look, _look_async], ids=["threads", "loop"])
def test_every_run_begins_with_a_copy_of_the_context_in_which_its_worker_was_made(make_app, memory_url, look):
    app = make_app(memory_url)
    app.task(name="look")(look)
    worker = contextvars.copy_context().run(lambda: (user.set("the worker's"), app.worker())[1])
    with worker:
        for _ in range(2):
            assert app.send(app.signature("look")).get(timeout=60)[0] == "the worker's"


def test_code_after_a_run_in_its_thread_does_not_see_its_context(make_app, memory_url):
    """A lone task is settled by the thread that ran it; observers and logging of that are nobody's task."""
    app = make_app(memory_url)
    app.task(name="spoil")(_spoil)
    seen = []
    worker = app.worker()
    settle = worker._finisher.settle
    worker._finisher.settle = lambda endings: (seen.append(user.get()), settle(endings))[1]
    with worker:
        app.send(app.signature("spoil")).get(timeout=60)
    assert set(seen) == {"nobody"}


def test_the_line_that_says_that_a_task_failed_is_logged_in_its_context(make_app, memory_url, caplog):
    app = make_app(memory_url)

    class Tenant(logging.Filter):
        def filter(self, record):
            record.tenant = user.get()
            return True

    @app.task(name="failing")
    def failing() -> None:
        user.set("alice")
        raise ValueError("no")

    caplog.handler.addFilter(Tenant())
    with app.worker(), pytest.raises(TaskFailed):
        app.send(app.signature("failing")).get(timeout=60)
    assert [one.tenant for one in caplog.records if one.name == "drivetrain.task"] == ["alice"]


# The loop


def _exit_in_child():
    async def child() -> None:
        sys.exit(1)

    return asyncio.gather(child())


async def _stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


async def _exit_in_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 1)
    await asyncio.sleep(0.01)


async def _interrupt_in_child() -> None:
    async def child() -> None:
        raise KeyboardInterrupt

    await asyncio.create_task(child())


async def _await_exit() -> None:
    await _exit_in_child()


@pytest.mark.parametrize(
    ("culprit", "kind"),
    [
        (_await_exit, "builtins.SystemExit"),
        (_interrupt_in_child, "builtins.KeyboardInterrupt"),
        (_exit_in_callback, None),
        (_stop_the_loop, None),
    ],
)
def test_a_task_that_stops_the_event_loop_ends_no_other_task(make_app, memory_url, culprit, kind):
    app = make_app(memory_url)
    started, go = threading.Event(), threading.Event()

    @app.task(name="innocent")
    async def innocent() -> int:
        started.set()
        await asyncio.to_thread(happened, go, "it may end")
        return 1

    app.task(name="culprit")(culprit)
    with app.worker():
        before = app.send(app.signature("innocent"))
        happened(started, "the innocent one runs")
        bad = app.send(app.signature("culprit"))
        if kind is None:
            bad.get(timeout=60)
        else:
            with pytest.raises(TaskFailed) as raised:
                bad.get(timeout=60)
            assert raised.value.failure.type == kind
        go.set()
        assert before.get(timeout=60) == 1
        assert app.send(app.signature("innocent")).get(timeout=60) == 1


def test_a_coroutine_that_cancels_itself_and_returns_has_returned(make_app, memory_url):
    app = make_app(memory_url)

    @app.task(name="odd")
    async def odd() -> int:
        asyncio.current_task().cancel()
        return 7

    with app.worker():
        assert app.send(app.signature("odd")).get(timeout=60) == 7


def test_stopping_a_worker_whose_coroutines_do_not_end_raises_nothing(make_app, memory_url):
    app = make_app(memory_url)
    started = threading.Event()

    @app.task(name="stubborn")
    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.sleep(600)
        finally:
            sys.exit(3)

    with app.worker(grace_seconds=0):
        app.send(app.signature("stubborn"))
        happened(started, "it runs")


# Errors that cannot be shown


def _raises(error):
    def method(*_):
        raise error

    return method


class _Meta(type):
    @property
    def __module__(cls):
        raise SystemExit("no module for you")


class _Mro(type):
    @property
    def __mro__(cls):
        raise RuntimeError("no parents for you")


HOSTILE = {
    "str exits": type("Hostile", (Exception,), {"__str__": _raises(SystemExit(1))}),
    "str interrupts": type("Hostile", (Exception,), {"__str__": _raises(KeyboardInterrupt())}),
    "repr exits": type("Hostile", (Exception,), dict.fromkeys(("__str__", "__repr__"), _raises(SystemExit(1)))),
    "str is not a str": type("Hostile", (Exception,), {"__str__": lambda _: 7}),
    "class raises": type("Hostile", (Exception,), {"__class__": property(_raises(SystemExit(1)))}),
    "notes raise": type("Hostile", (Exception,), {"__notes__": property(_raises(SystemExit(1)))}),
    "module of its metaclass raises": _Meta("Hostile", (Exception,), {}),
    "module is not a str": type("Hostile", (Exception,), {"__module__": 7}),
    "mro of its metaclass raises": _Mro("Hostile", (Exception,), {}),
}


@pytest.mark.parametrize("kind", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "loop"])
@pytest.mark.parametrize("policy", [None, retry.fixed(0, max_retries=1)], ids=["", "retried"])
def test_an_error_that_raises_when_it_is_read_ends_only_its_task(make_app, memory_url, kind, asynchronous, policy):
    app = make_app(memory_url)

    def hostile() -> None:
        raise kind

    async def hostile_async() -> None:
        raise kind

    app.task(name="hostile", retry=policy)(hostile_async if asynchronous else hostile)
    with app.worker(concurrency=1, loop_concurrency=1):
        for _ in range(3):
            with pytest.raises(TaskFailed, match="Hostile"):
                app.send(app.signature("hostile")).get(timeout=60)
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1


@dataclass
class HostileResult:
    error: BaseException

    def __getattribute__(self, name):
        raise object.__getattribute__(self, "error")


@pytest.mark.parametrize("error", [SystemExit(1), RuntimeError("no"), KeyboardInterrupt()], ids=repr)
def test_a_result_that_raises_when_it_is_encoded_ends_its_task_and_nothing_else(make_app, memory_url, error):
    app = make_app(memory_url)
    app.task(name="hostile")(lambda: HostileResult(error))
    with app.worker(concurrency=1):
        for _ in range(2):
            with pytest.raises(TaskFailed):
                app.send(app.signature("hostile")).get(timeout=60)
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1


# Logging


class _Raising(logging.Filter):
    def filter(self, _record):
        raise RuntimeError("a filter is broken")


@pytest.fixture
def broken_logging(monkeypatch):
    """Filters that raise on every logger of ours; what logging then says to standard error is silenced."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    loggers = [logging.getLogger(f"drivetrain.{name}") for name in ("task", "worker", "observers")]
    broken = _Raising()
    for logger in loggers:
        logger.addFilter(broken)
    yield
    for logger in loggers:
        logger.removeFilter(broken)


@pytest.mark.usefixtures("broken_logging")
def test_a_logging_filter_that_raises_changes_nothing(make_app, memory_url):
    app = make_app(memory_url, lease_seconds=0.3)
    app.task(name="flaky.once", retry=retry.fixed(0, max_retries=1))(_fail_once)
    app.task(name="sleepy")(_sleep)
    with app.worker(concurrency=1) as worker:
        for _ in range(3):
            with pytest.raises(TaskFailed, match="it is broken"):
                app.send(app.signature("broken")).get(timeout=60)
            assert app.send(app.signature("flaky.once")).get(timeout=60) == 1
        handle = app.send(app.signature("sleepy"))
        until(lambda: handle.state() is State.STARTED, "it runs")
        handle.cancel()  # the heartbeat logs that it was
        until(lambda: not len(worker._in_flight), "it is let go of")
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1


def _fail_once() -> int:
    if current_task().attempt == 0:
        raise ConnectionError("not yet")
    return 1


async def _sleep() -> None:
    await asyncio.sleep(600)


# Child processes: see also test_pools.py


def test_children_begin_every_run_with_a_context_of_its_own(children):
    with children.app.worker(concurrency=1):
        for _ in range(2):
            children.spoil.send().get(timeout=60)
            assert children.look.send().get(timeout=60) == CLEAN


@pytest.mark.parametrize(
    "task", ["close_files", "close_files_and_go_on", "close_and_reopen_files", "exit_leaving_a_child"]
)
def test_a_child_that_is_of_no_use_any_more_is_replaced(children, tmp_path, task):
    """It may have closed its files, and other processes may still have them open."""
    hurry(children.app)
    with children.app.worker(concurrency=1, max_starts=1):
        with pytest.raises(TaskFailed):
            getattr(children, task).send(str(tmp_path)).get(timeout=30)
        assert children.square.send(3).get(timeout=60) == 9


def test_a_module_that_a_child_cannot_import_fails_the_task_and_the_slot_goes_on(children, monkeypatch):
    hurry(children.app)
    with children.app.worker(concurrency=1):
        assert children.square.send(2).get(timeout=60) == 4
        with monkeypatch.context() as patched:
            patched.setattr(TaskReference, "to", lambda _definition: TaskReference("exits_on_import", "square"))
            with pytest.raises(TaskFailed, match="exits_on_import"):
                children.failing.send("").get(timeout=60)
        assert children.square.send(3).get(timeout=60) == 9


def test_a_child_that_died_while_idle_is_replaced_and_counts_for_no_task(children):
    hurry(children.app)
    with children.app.worker(concurrency=1, max_starts=1):
        pid = children.pid.send().get(timeout=60)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), "it has died")
        handle = children.pid.send()
        assert handle.get(timeout=60) != pid
        assert handle.record().starts == 1
