"""A run whose lease was lost: nothing that it does takes effect once another has taken over."""

import threading
from collections import Counter
from contextvars import copy_context
from uuid import uuid4

import pytest

from drivetrain import App, State, chord, current_task, group, retry
from drivetrain.contract import RunLease
from drivetrain.worker.unfinished import Unfinished
from support.clocks import Ahead
from support.faults import hoard, hurry
from support.waiting import Log, happened, until


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return f"memory://{uuid4().hex}" if request.param == "memory" else f"sqlite:///{tmp_path}/work.db"


class Stuck:
    """An app whose task ``work`` is stuck in its first run until `go`; later runs are not."""

    def __init__(self, url, **settings):
        self.started, self.go, self.returned = threading.Event(), threading.Event(), threading.Event()
        self.log = Log()
        self.app, self.other = self.make(url, **settings), self.make(url, clock=Ahead(3600), **settings)

    def make(self, url, **settings):
        # One at a time: while it is stuck, its worker takes nothing else, which the other's clock would free at once.
        app = App(url, url, concurrency=1, lease_seconds=60.0, **settings)
        hurry(app)

        @app.task(name="work")
        def work(x: int) -> str:
            run = len(self.log.notes)
            self.log.note("work", current_task().worker)
            if run == 0:
                self.started.set()
                happened(self.go, "the stuck run may go on")
                self.returned.set()
            return f"run {run} of {x}"

        @app.task(name="count")
        def count(values: list[str]) -> int:
            self.log.note("count", values)
            return len(values)

        @app.task(name="next")
        def following(value: str) -> str:
            self.log.note("next", value)
            return value

        @app.task(name="broken", retry=retry.fixed(0, max_retries=5))
        def broken() -> int:
            self.log.note("broken", current_task().attempt)
            if len(self.log.notes) == 1:
                self.started.set()
                happened(self.go, "the stuck run may go on")
                self.returned.set()
                raise ValueError("the stuck run fails")
            return current_task().attempt

        return app

    def close(self):
        self.go.set()
        self.app.close()
        self.other.close()


@pytest.fixture
def stuck(url):
    made = Stuck(url)
    yield made
    made.close()


def all_seen_to(app):
    sizes = app.runtime.broker.sizes(["default"])["default"]
    return sizes.ready == sizes.in_flight == sizes.delayed == 0


def free(stuck, handle):
    """Let the message of the stuck run be delivered again, as when its hold has ended on a broker."""
    run = next(run for run in stuck.worker._in_flight.all() if run.task_id == handle.id)
    stuck.app.runtime.broker.release([run.delivery])


def test_the_result_of_the_run_that_took_over_stands(stuck, caplog):
    with stuck.app.worker() as stuck.worker:
        handle = stuck.app.send(stuck.app.signature("work", 1).set(task_id="w") | stuck.app.signature("next"))
        happened(stuck.started, "the first run is stuck")
        free(stuck, stuck.app.result("w"))
        with stuck.other.worker():
            assert handle.get(timeout=60) == "run 1 of 1"
        stuck.go.set()
        happened(stuck.returned, "the first run returns")
        until(lambda: not len(stuck.worker._in_flight), "the first worker lets go of it")
    assert "task w: result discarded, because another run of it had ended as SUCCESS" in caplog.text
    assert handle.get(timeout=60) == "run 1 of 1"
    assert stuck.app.result("w").get(timeout=60) == "run 1 of 1"
    assert Counter(name for name, _ in stuck.log.notes) == {"work": 2, "next": 1}
    assert all_seen_to(stuck.app)


def test_a_run_that_lost_its_lease_to_one_that_still_runs_changes_nothing(stuck, caplog):
    """The late result comes while the second run goes on: neither the result nor its acknowledgement counts."""
    app = stuck.app
    with app.worker(name="first") as stuck.worker:
        handle = app.send(app.signature("work", 1))
        happened(stuck.started, "the first run is stuck")
        record = handle.record()
        backend = app.runtime.backend
        (renewal,) = backend.renew([RunLease(task_id=handle.id, run=record.run, seconds=0)])
        assert renewal.held
        free(stuck, handle)
        (delivery,) = app.runtime.broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=600)
        other = stuck.other.worker()
        (run,) = other._receiver.start([delivery])  # the second run has begun, and goes on
        assert f"task {handle.id}: taken over from worker first, whose lease had ended; it starts again" in caplog.text
        assert Unfinished.load(app.runtime.payloads, handle.record()).taken_over_from == "first"
        stuck.go.set()
        happened(stuck.returned, "the first run returns")
        until(lambda: not len(stuck.worker._in_flight), "the first worker lets go of it")
        assert f"task {handle.id}: result discarded, because another worker has taken the task over" in caplog.text
        assert handle.state() is State.STARTED
        assert handle.record().run == run.id
        assert app.runtime.broker.sizes(["default"])["default"].in_flight == 1
        other._finisher.settle([copy_context().run(other._execution.run, run)])
        assert handle.get(timeout=60) == "run 1 of 1"
    assert all_seen_to(app)


def test_the_failure_of_a_run_that_lost_its_lease_brings_no_retry(stuck):
    with stuck.app.worker() as stuck.worker:
        handle = stuck.app.send(stuck.app.signature("broken"))
        happened(stuck.started, "the first run is stuck")
        free(stuck, handle)
        with stuck.other.worker():
            assert handle.get(timeout=60) == 0
        stuck.go.set()
        happened(stuck.returned, "the first run returns")
        until(lambda: not len(stuck.worker._in_flight), "the first worker lets go of it")
    assert stuck.log.notes == [("broken", 0), ("broken", 0)]
    assert handle.get(timeout=60) == 0
    assert all_seen_to(stuck.app)


def test_a_member_that_two_runs_complete_counts_once(stuck):
    app = stuck.app
    members = [app.signature("work", n).set(task_id=f"m{n}") for n in range(3)]
    with app.worker() as stuck.worker:
        handle = app.send(chord(group(members), app.signature("count")))
        happened(stuck.started, "the first run is stuck")
        free(stuck, app.result("m0"))
        with stuck.other.worker():
            assert handle.get(timeout=60) == 3
            stuck.go.set()
            happened(stuck.returned, "the first run returns")
            until(lambda: not len(stuck.worker._in_flight), "the first worker lets go of it")
    counts = [values for name, values in stuck.log.notes if name == "count"]
    assert len(counts) == 1
    assert counts[0][0] != "run 0 of 0"


def test_a_heartbeat_keeps_a_long_run_from_being_taken_over(url):
    app = App(url, url, concurrency=1, lease_seconds=1.0)
    hurry(app)
    runs = Log()

    @app.task(name="long")
    def long() -> str:
        runs.note("run")
        threading.Event().wait(2.5)
        return "done"

    with app.worker(), app.worker():
        assert app.send(app.signature("long")).get(timeout=60) == "done"
    assert runs.notes == ["run"]
    app.close()


def test_what_waited_longer_in_a_worker_than_its_lease_is_not_begun(url):
    """A worker that was paused for longer than its lease: what lies in it is somebody else's by now."""
    stuck = Stuck(url)
    app = stuck.app
    worker = app.worker(concurrency=1)
    hoard(worker, 10)
    try:
        with worker:
            app.send(app.signature("work", 0))
            happened(stuck.started, "the first run is stuck")
            waiting = app.send(app.signature("work", 1))
            until(lambda: waiting.state() is State.STARTED, "it waits in the worker")
            run = next(run for run in worker._in_flight.all() if run.task_id == waiting.id)
            run.owned_until = -1.0
            stuck.go.set()
            assert waiting.get(timeout=60) == "run 1 of 1"
        assert waiting.record().run != run.id
        assert len(stuck.log.notes) == 2
    finally:
        stuck.close()
