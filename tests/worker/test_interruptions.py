"""Observers hear of every run that ends without a result of its own, and of every result that does not count."""

import threading
from types import SimpleNamespace

import pytest

from drivetrain import State, current_task, hookimpl
from drivetrain.contract import Interruption, Transition
from support.faults import hurry
from support.waiting import Log, happened, until


class Watching:
    """Notes the two hooks, and whether each run had begun."""

    def __init__(self):
        self.interrupted = Log()
        self.discarded = Log()
        self.stopped = []

    @hookimpl
    def run_interrupted(self, event, reason):
        self.interrupted.note(event.task_id, reason, event.started_at is not None)

    @hookimpl
    def result_discarded(self, event, recorded):
        self.discarded.note(event.task_id, event.state, recorded)

    @hookimpl
    def worker_stopped(self, worker):
        self.stopped.append(worker)


@pytest.fixture
def watching():
    return Watching()


@pytest.fixture
def held(app, watching):
    """The gates of a task, and the task: it runs until its gate opens."""
    app.add_plugins(watching)
    hurry(app)
    gates = SimpleNamespace(begun=threading.Event(), gate=threading.Event())

    @app.task(name="held")
    def task() -> int:
        gates.begun.set()
        happened(gates.gate, "the gate opens")
        return current_task().attempt

    return gates, task


def test_a_lost_lease_and_the_result_that_it_costs(app, watching, held):
    gates, task = held
    with app.worker(lease_seconds=0.3) as worker:
        handle = task.send()
        happened(gates.begun, "it runs")
        record = app.runtime.backend.read([handle.id])[0]
        app.runtime.backend.forget([handle.id])
        watching.interrupted.wait_for(1)
        app.runtime.backend.record([taken_over(record)])
        gates.gate.set()
        watching.discarded.wait_for(1)
    assert watching.interrupted.notes == [(handle.id, Interruption.LEASE_LOST, True)]
    assert watching.discarded.notes == [(handle.id, State.SUCCESS, State.STARTED)]
    assert watching.stopped == [worker.options.name]


def taken_over(record):
    """The start of the same attempt by another worker."""
    return Transition(
        task_id=record.task_id,
        state=State.STARTED,
        attempt=record.attempt,
        at=record.history[State.STARTED].at,
        worker="another",
        run="another",
        lease=60.0,
    )


def test_a_task_that_is_cancelled_while_it_runs(app, watching, held):
    gates, task = held
    with app.worker(lease_seconds=0.3):
        handle = task.send()
        happened(gates.begun, "it runs")
        handle.cancel()
        watching.interrupted.wait_for(1)
        gates.gate.set()
    assert watching.interrupted.notes == [(handle.id, Interruption.CANCELLED, True)]


def test_a_run_that_outlasts_the_grace_period(app, watching, held):
    gates, task = held
    with app.worker(grace_seconds=0):
        handle = task.send()
        happened(gates.begun, "it runs")
    assert watching.interrupted.notes == [(handle.id, Interruption.RELEASED, True)]
    gates.gate.set()


@pytest.mark.parametrize("max_starts", [3, 2], ids=["another start follows", "the last start"])
def test_a_child_process_that_dies(children, watching, tmp_path, max_starts):
    app = children.app
    app.add_plugins(watching)
    hurry(app)
    with app.worker(max_starts=max_starts):
        handle = children.die_until.send(str(tmp_path / "deaths"), 99 if max_starts == 2 else 2)
        until(lambda: handle.record().state.terminal, "it ends")
    assert watching.interrupted.notes == [(handle.id, Interruption.CRASHED, True)] * 2


def test_a_cancelled_task_in_a_child_process(children, watching, tmp_path):
    app = children.app
    app.add_plugins(watching)
    hurry(app)
    path = tmp_path / "pid"
    with app.worker(lease_seconds=0.6, grace_seconds=0.2):
        handle = children.note_and_wait.send(str(path))
        until(lambda: path.exists() and path.read_text(), "it runs")
        handle.cancel()
        watching.interrupted.wait_for(1)
    assert watching.interrupted.notes == [(handle.id, Interruption.CANCELLED, True)]
