"""A worker whose slots all wait for results says so, and names the queue that is not worked on."""

import threading
from contextlib import contextmanager

import pytest

from drivetrain import ResultTimeout, group
from support.waiting import happened, until

OWN = "all 2 slots run tasks that wait for results of queue inner, which only this worker serves"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Report often, so that tests wait little."""
    monkeypatch.setattr("drivetrain.worker.status_reporter.REPORT_SECONDS", 0.02)


@pytest.fixture
def waiters(app):
    """Tasks in both slots of a worker, which wait until `over` is set; `began` counts those that have begun."""
    over, began = threading.Event(), threading.Semaphore(0)

    class Waiters:
        #: What each of them sends and waits for.
        make = staticmethod(lambda: app.signature("value", 1).set(queue="inner", delay=3600))

        @staticmethod
        @contextmanager
        def running(number=2):
            """So many of them run."""
            for n in range(number):
                app.send(app.signature("waits", n))
            for _ in range(number):
                assert began.acquire(timeout=60)
            try:
                yield
            finally:
                over.set()

    @app.task(name="waits")
    def waits(_n: int) -> None:
        handle = app.send(Waiters.make())
        began.release()
        while not over.is_set():
            try:
                handle.get(timeout=0.2)
            except ResultTimeout:
                continue

    return Waiters


def blocked(app, name="w"):
    return next((one.blocked for one in app.operations.workers() if one.name == name), "")


def reported(app, times=5):
    """Wait until a worker has reported so many times."""
    seen = set()

    def enough():
        seen.update(one.reported for one in app.operations.workers())
        return len(seen) > times

    until(enough, "it reports")


def test_slots_that_wait_for_a_queue_of_this_worker_alone(app, waiters, caplog):
    with app.worker(name="w", queues=["default", "inner"]), waiters.running():
        until(lambda: blocked(app) == OWN, "the worker reports why it is blocked")
        until(lambda: caplog.text.count(OWN) == 1, "it is logged once")
    assert "link the tasks by chain(...), chord(...) or on_success, or start another worker" in caplog.text


def test_a_free_slot_is_not_blocked(app, waiters):
    with app.worker(name="w", queues=["default", "inner"]), waiters.running(1):
        reported(app)
        assert blocked(app) == ""


def test_another_worker_may_run_what_is_awaited(app, waiters, make_app, url):
    other = make_app(url)
    with other.worker(name="other", queues=["inner"]):
        until(lambda: [one.name for one in app.operations.workers()] == ["other"], "the other worker reports")
        with app.worker(name="w", queues=["default", "inner"]), waiters.running():
            reported(app)
            assert blocked(app) == ""


def test_a_queue_that_no_worker_serves(app, waiters):
    waiters.make = lambda: app.signature("value", 1).set(queue="nobody")
    with app.worker(name="w"), waiters.running():
        text = "all 2 slots run tasks that wait for results of queue nobody, which no worker serves"
        until(lambda: blocked(app) == text, "the worker reports why it is blocked")


def test_the_queue_of_a_group_is_not_known(app, waiters):
    waiters.make = lambda: group(app.signature("value", n).set(delay=3600) for n in range(2))
    with app.worker(name="w"), waiters.running():
        text = "all 2 slots run tasks that wait for results of other tasks"
        until(lambda: blocked(app) == text, "the worker reports why it is blocked")


def test_what_waits_in_the_worker_is_reported(app):
    gate, begun = threading.Event(), threading.Event()

    @app.task(name="holds")
    def holds() -> None:
        begun.set()
        gate.wait(60)

    with app.worker(name="w", concurrency=1) as worker:
        for prefetch in worker._flow_control.prefetch.values():
            prefetch.window = lambda _stalled: 10
        worker._flow_control.stuck = lambda _pool: False
        app.send(app.signature("holds"))
        happened(begun, "the first task runs")
        second = app.send(app.signature("value", 2))
        # A report may be of the moment in which the first task waited for its slot.
        (status,) = until(
            lambda: [one for one in app.operations.workers() if [each.task_id for each in one.waiting] == [second.id]],
            "the second one waits",
        )
        (waiting,) = status.waiting
        assert (waiting.task, waiting.attempt, waiting.queue) == ("value", 0, "default")
        assert status.started <= waiting.received <= status.reported
        gate.set()
        assert second.get(timeout=60) == 2
