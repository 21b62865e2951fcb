"""The status of a worker: what it serves, runs and has done, as every process of the app reads it."""

import os
import threading

import pytest

from drivetrain import App, TaskFailed, current_task
from drivetrain.contract import ServiceUnavailable, State, ValueWrite
from drivetrain.worker.counts.task_counts import TaskCounts
from drivetrain.worker.status import WorkerStatus, status_key
from drivetrain.worker.status_reporter import STATUS_SECONDS
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.worker_statuses import worker_statuses
from support.faults import Changed, rewire
from support.waiting import happened, until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Report often, so that tests wait little."""
    monkeypatch.setattr("drivetrain.worker.status_reporter.REPORT_SECONDS", 0.02)


def status_of(app, name="w", *, when=lambda _: True):
    """The status of a worker, as soon as it is as wanted."""

    def found():
        return next((one for one in app.operations.workers() if one.name == name and when(one)), None)

    return until(found, f"worker {name} reports")


def test_it_says_what_the_worker_is(app):
    with app.worker(name="w", queues=["high", "default"]):
        status = status_of(app)
    assert (status.pid, status.queues, status.stopping) == (os.getpid(), ["high", "default"], False)
    assert status.slots == {"threads": 2}
    assert status.host
    assert status.version
    assert status.started <= status.reported


def test_a_worker_that_stops_removes_its_status(app):
    with app.worker(name="w"):
        status_of(app)
    assert app.operations.workers() == []


def test_a_worker_that_died_is_gone_when_its_status_expires(app):
    backend = app.runtime.backend
    status = WorkerStatus(name="w", host="h", pid=1, version="0", queues=["q"], slots={}, started=0.0, reported=0.0)
    backend.write_values([ValueWrite(key=status_key("w"), value=encode(status), expires_in_seconds=STATUS_SECONDS)])
    (stored,) = backend.read_values([status_key("w")])
    assert [one.name for one in app.operations.workers()] == ["w"]
    assert 0 < stored.expires_in_seconds <= STATUS_SECONDS


def test_it_shows_what_runs_and_since_when(app):
    gate, begun = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> None:
        begun.set()
        happened(gate, "the gate opens")

    with app.worker(name="w"):
        before = app.runtime.clock.now()
        handle = held.send()
        happened(begun, "it runs")
        status = status_of(app, when=lambda one: one.running)
        (running,) = status.running
        assert (running.task_id, running.task, running.attempt, running.queue) == (handle.id, "held", 0, "default")
        assert before <= running.began <= app.runtime.clock.now()
        assert (status.running_count, status.waiting_count) == (1, 0)
        gate.set()
        handle.get(timeout=60)
        status = status_of(app, when=lambda one: not one.running and one.ended)
    assert [(one.task_id, one.state) for one in status.ended] == [(handle.id, State.SUCCESS)]


def test_tasks_that_wait_for_a_slot_are_counted_apart(memory_app):
    gate, running = threading.Event(), threading.Barrier(3)

    @memory_app.task(name="held")
    def held() -> None:
        if not gate.is_set():
            running.wait(60)
        happened(gate, "the gate opens")

    with memory_app.worker(name="w", concurrency=2):
        handles = [held.send() for _ in range(2)]
        running.wait(60)
        status = status_of(memory_app, when=lambda one: one.running_count == 2)
        assert len(status.running) == 2
        gate.set()
        for handle in handles:
            handle.get(timeout=60)


def test_it_counts_by_task_and_state(app):
    with app.worker(name="w"):
        for number in range(3):
            app.send(app.signature("value", number)).get(timeout=60)
        app.send(app.signature("flaky", 2)).get(timeout=60)
        with pytest.raises(TaskFailed):
            app.send(app.signature("broken")).get(timeout=60)
        status = status_of(app, when=lambda one: one.total.succeeded == 4 and one.total.failed == 1)
    counts = status.counts
    assert (counts["value"].received, counts["value"].succeeded, counts["value"].failed) == (3, 3, 0)
    assert (counts["flaky"].received, counts["flaky"].retried, counts["flaky"].succeeded) == (3, 2, 1)
    assert (counts["broken"].received, counts["broken"].failed) == (1, 1)
    assert status.total.received == 7


def test_names_that_only_messages_know_are_counted_together(app):
    other = App(app.settings.broker, app.settings.backend)

    @other.task(name="elsewhere")
    def elsewhere() -> None: ...

    with other:
        handle = elsewhere.send()
        with app.worker(name="w", version_mismatch_seconds=0):
            with pytest.raises(TaskFailed):
                handle.get(timeout=60)
            status = status_of(app, when=lambda one: one.total.failed == 1)
    assert set(status.counts) == {""}


def test_a_lost_lease_is_counted(app):
    gate, begun = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> int:
        begun.set()
        happened(gate, "the gate opens")
        return current_task().attempt

    with app.worker(name="w", lease_seconds=0.3):
        handle = held.send()
        happened(begun, "it runs")
        app.runtime.backend.forget([handle.id])  # as another worker's take-over, its run holds the task no more
        status = status_of(app, when=lambda one: one.total.lease_lost)
        gate.set()
    assert status.counts["held"].lease_lost == 1


def test_an_outage_of_the_backend_is_logged_once_and_survived(memory_app, caplog):
    away = threading.Event()

    class Backend(Changed):
        def write_values(self, writes):
            if away.is_set():
                raise ServiceUnavailable("the backend is away")
            return self._driver.write_values(writes)

    rewire(memory_app, backend=Backend(memory_app.runtime.backend))
    with memory_app.worker(name="w"):
        first = status_of(memory_app)
        away.set()
        until(lambda: "cannot report the status" in caplog.text, "it is logged")
        away.clear()
        status_of(memory_app, when=lambda one: one.reported > first.reported)
    assert caplog.text.count("cannot report the status") == 1


def test_a_status_of_another_version_is_skipped_and_logged(app, caplog):
    app.runtime.backend.write_values([ValueWrite(key=status_key("odd"), value=b'{"name": 1}')])
    with app.worker(name="w"):
        status_of(app)
        assert [one.name for one in app.operations.workers()] == ["w"]
    assert "cannot read the status of worker odd" in caplog.text


def test_statuses_are_read_page_by_page(app, monkeypatch):
    monkeypatch.setattr("drivetrain.worker.value_listing._PAGE", 2)
    status = WorkerStatus(name="", host="h", pid=1, version="0", queues=["q"], slots={}, started=0.0, reported=0.0)
    writes = [ValueWrite(key=status_key(f"{number}"), value=encode(status)) for number in range(7)]
    app.runtime.backend.write_values(writes)
    assert len(list(worker_statuses(app.runtime.backend))) == 7


def test_names_may_be_any_text():
    status = WorkerStatus(
        name="\ud800\0é", host="h", pid=1, version="0", queues=["\udfff"], slots={}, started=0.0, reported=0.0,
        counts={"\ud800": TaskCounts(received=2)},
    )  # fmt: skip
    read = decode(encode(status), WorkerStatus)
    assert (read.name, list(read.queues), dict(read.counts)) == (status.name, status.queues, status.counts)


def test_a_backend_that_stores_nothing_has_no_statuses():
    with App("memory://", "null://") as app, app.worker():
        assert app.operations.workers() == []
