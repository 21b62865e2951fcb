"""What the record of a task says after its worker has given it back."""

import threading

from drivetrain import State
from support.faults import hoard
from support.waiting import happened, until


def test_a_task_that_was_given_back_says_so_and_names_no_start(app):
    """Of a hundred tasks that a worker has received, those that have not begun go back when it stops."""
    begun, gate = threading.Event(), threading.Event()

    @app.task(name="first")
    def first() -> None:
        begun.set()
        happened(gate, "the others were given back")

    worker = app.worker(name="w", concurrency=1)
    hoard(worker, 100)
    handles = [app.send(app.signature("first")), *(app.send(app.signature("value", n)) for n in range(50))]
    with worker:
        happened(begun, "the first task runs")
        until(lambda: len(worker._in_flight) > 1, "others wait in the worker")
        worker.stop(wait=False)
        until(lambda: len(worker._in_flight) == 1, "the others were given back")
        gate.set()
    records = [handle.record() for handle in handles[1:]]
    released = [record for record in records if record.state is State.RECEIVED]
    assert released
    for record in records:
        latest = max(record.history, key=lambda state: record.history[state].at)
        assert latest is record.state, f"{record.state} at the time of {record.history}"
        assert State.STARTED not in record.history
        assert record.starts == 0
    assert {record.history[State.RECEIVED].worker for record in released} == {"w"}


def test_a_worker_that_retires_waits_for_its_task_however_long_it_takes(app):
    """Also with a grace period of nothing, with which a stop releases it at once."""
    begun, gate = threading.Event(), threading.Event()

    @app.task(name="first")
    def first() -> None:
        begun.set()
        happened(gate, "the worker has retired")

    worker = app.worker(concurrency=1, grace_seconds=0.0)
    hoard(worker, 100)
    handles = [app.send(app.signature("first")), *(app.send(app.signature("value", n)) for n in range(5))]
    with worker:
        happened(begun, "the first task runs")
        worker.retire()
        until(lambda: len(worker._in_flight) == 1, "the others were given back")
        assert not worker.abandoned
        assert worker.status().stopping
        gate.set()
        until(lambda: worker.ended, "it has ended")
        assert handles[0].state() is State.SUCCESS
    assert handles[0].record().starts == 1


def test_a_worker_that_retires_can_be_stopped(app):
    begun, gate = threading.Event(), threading.Event()

    @app.task(name="first")
    def first() -> None:
        begun.set()
        happened(gate, "it was released")

    handle = app.send(app.signature("first"))
    with app.worker(grace_seconds=0.05) as worker:
        happened(begun, "the task runs")
        worker.retire()
        worker.stop()
        assert worker.abandoned
        assert handle.state() is State.RECEIVED
        gate.set()
