"""Limits of time: of any length, and kept against code that swallows what is raised in it."""

import asyncio
import sys
import threading
from datetime import timedelta

import pytest

from drivetrain import TaskFailed, TaskTimeout, current_task, retry
from drivetrain.contract import SystemClock
from drivetrain.worker.deadlines import Deadlines
from drivetrain.worker.pools.loop import LoopPool
from drivetrain.worker.threads import Threads
from support.faults import hurry

TIMEOUT = "drivetrain.worker.context.TaskTimeout"


@pytest.fixture
def quickly(monkeypatch):
    """Limits strike again at once."""
    for kind in (Deadlines, LoopPool):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "again_seconds", 0.02)


def _failure(handle):
    with pytest.raises(TaskFailed) as raised:
        handle.get(timeout=60)
    return raised.value.failure.type


LONG = [sys.maxsize, 1e10, threading.TIMEOUT_MAX, threading.TIMEOUT_MAX * 1000, timedelta.max]


@pytest.mark.parametrize("limit", LONG, ids=repr)
def test_a_limit_of_any_length_is_taken_and_later_ones_are_kept(make_app, memory_url, limit):
    app = make_app(memory_url)

    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 1

    app.task(name="patient", timeout=limit)(lambda: 1)
    app.task(name="patient.async", timeout=limit)(coroutine)
    app.task(name="stuck", timeout=0.05)(_wait)
    with app.worker():
        for task in ("patient", "patient.async"):
            assert app.send(app.signature(task)).get(timeout=60) == 1
        assert _failure(app.send(app.signature("stuck"))) == TIMEOUT


@pytest.mark.parametrize("limit", [sys.maxsize, timedelta.max], ids=repr)
def test_a_limit_of_any_length_in_a_child_process(children, limit):
    hurry(children.app)
    with children.app.worker():
        assert children.app.send(children.square.s(3).set(timeout=limit)).get(timeout=60) == 9


def _wait() -> None:
    while True:
        threading.Event().wait(0.01)


def test_a_caller_waits_for_a_result_for_any_time(app):
    handle = app.send(app.signature("value", 1))
    starter = threading.Timer(0.1, app.worker().start)
    starter.start()
    assert handle.get(timeout=1e12) == 1
    starter.join()
    for worker in list(app._workers):
        worker.stop()


def test_a_clock_waits_longer_than_python_can_wait_at_once(monkeypatch):
    clock, condition, event = SystemClock(), threading.Condition(), threading.Event()
    waker = threading.Timer(0.1, lambda: (event.set(), _notify(condition)))
    with condition:
        waker.start()
        assert clock.wait(condition, 1e12)
    assert clock.wait_event(event, 1e12)
    monkeypatch.setattr(threading, "TIMEOUT_MAX", 0.01)
    event.clear()
    waker = threading.Timer(0.1, lambda: (event.set(), _notify(condition)))
    with condition:
        waker.start()
        assert clock.wait(condition, 60), "the end of a step is not the end of the time"
    assert clock.wait_event(event, 60)


def _notify(condition):
    with condition:
        condition.notify_all()


def test_a_task_does_not_suppress_its_time_limit_by_accident(app):
    seen = []

    @app.task(name="loop", timeout=0.05)
    def loop() -> None:
        while True:
            try:
                threading.Event().wait(0.01)
            except Exception as error:
                seen.append(error)

    with app.worker():
        assert _failure(app.send(app.signature("loop"))) == TIMEOUT
    assert seen == []


@pytest.mark.usefixtures("quickly")
def test_a_limit_strikes_again_until_the_task_ends(app):
    strikes, last = {"threads": 0, "loop": 0}, 3

    @app.task(name="threads", timeout=0.05)
    def swallowing() -> None:
        while True:
            try:
                _wait()
            except BaseException:
                strikes["threads"] += 1
                if strikes["threads"] == last:
                    raise

    @app.task(name="loop", timeout=0.05)
    async def swallowing_async() -> None:
        while True:
            try:
                await asyncio.sleep(600)
            except BaseException:
                strikes["loop"] += 1
                if strikes["loop"] == last:
                    raise

    with app.worker():
        for task in ("threads", "loop"):
            assert _failure(app.send(app.signature(task))) == TIMEOUT
    assert strikes == {"threads": last, "loop": last}


def test_a_task_may_catch_its_limit_clean_up_and_give_what_it_has(app):
    @app.task(name="threads", timeout=0.05)
    def partial() -> str:
        try:
            _wait()
        except TaskTimeout:
            return "half"

    @app.task(name="loop", timeout=0.05)
    async def partial_async() -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            return "half"

    with app.worker():
        for task in ("threads", "loop"):
            assert app.send(app.signature(task)).get(timeout=60) == "half"


@pytest.mark.parametrize("policy", [retry.fixed(0, max_retries=1), retry.fixed(0, max_retries=1, retry_on=TaskTimeout)])
def test_an_attempt_that_took_too_long_is_retried_like_one_that_failed(app, policy):
    @app.task(name="slow.once", timeout=0.05, retry=policy)
    def slow_once() -> int:
        if current_task().attempt == 0:
            _wait()
        return current_task().attempt

    with app.worker():
        assert app.send(app.signature("slow.once")).get(timeout=60) == 1


def test_strikes_that_go_on_hit_no_task_that_comes_later(memory_app, monkeypatch):
    """Limits strike every millisecond, in tasks that end just then: no strike reaches what its thread does next."""
    monkeypatch.setitem(Deadlines.__init__.__kwdefaults__, "again_seconds", 0.001)
    app, other = memory_app, []

    @app.task(name="close", timeout=0.001)
    def close() -> None:
        for _ in range(3):
            try:
                for _ in range(2000):
                    pass
            except BaseException:
                pass

    @app.task(name="unlimited")
    def unlimited() -> None:
        try:
            for _ in range(2000):
                pass
        except BaseException as error:
            other.append(error)

    with app.worker(concurrency=4):
        handles = app.send_many([app.signature(name) for _ in range(1000) for name in ("close", "unlimited")])
        for handle in handles:
            assert handle.wait(60)
    assert other == []


def test_many_limits_that_never_strike_are_forgotten():
    failures = []
    deadlines = Deadlines(SystemClock(), Threads(lambda *failure: failures.append(failure)))
    for number in range(5000):
        assert deadlines.call(3600, lambda number=number: number) == number
    assert len(deadlines._entries) < 500
    deadlines.stop()
    assert failures == []
