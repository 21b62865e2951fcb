"""How long tasks waited, to the second, by a clock that is turned by hand."""

from datetime import timedelta

import pytest

from drivetrain import App, Retry
from drivetrain.contract import State, StateChange, TaskRecord
from drivetrain.testing import VirtualClock
from drivetrain.worker.readiness import ready_since


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def app(clock):
    app = App("memory://", "memory://")

    @app.task(name="take")
    def take(seconds: float = 0.0) -> float:
        clock.turn(seconds)
        return seconds

    @app.task(name="broken", dead_letter=True)
    def broken() -> None:
        raise ValueError("it is broken")

    @app.task(name="flaky")
    def flaky() -> None:
        raise Retry(after=60)

    with app.using("memory://", "memory://", clock=clock):
        yield app


def work(app):
    """Run all that is ready; what the worker has counted, by the name of the task."""
    worker = app.worker()
    worker.drain()
    return worker._stages.activity.counts()


def test_a_task_waits_from_its_sending_to_its_start(app, clock):
    app.send(app.signature("take", 5.0))
    app.send(app.signature("take"))
    clock.turn(30)
    waiting = work(app)["take"].waiting
    assert (waiting.count, waiting.sum, waiting.max) == (2, pytest.approx(30 + 35), pytest.approx(35))


def test_a_delay_is_no_wait(app, clock):
    app.send(app.signature("take").set(delay=timedelta(seconds=600)))
    clock.turn(607)
    assert work(app)["take"].waiting.sum == pytest.approx(7)


def test_what_follows_waits_from_the_end_of_what_it_follows(app, clock):
    app.send(app.signature("take", 100.0) | app.signature("take"))
    clock.turn(8)
    counts = work(app)["take"]
    assert (counts.waiting.count, counts.waiting.sum) == (2, pytest.approx(8, abs=0.01))
    assert (counts.run.count, counts.run.sum) == (2, pytest.approx(200))


def test_a_retry_waits_from_when_it_is_due(app, clock):
    app.send(app.signature("flaky"))
    clock.turn(3)
    assert work(app)["flaky"].waiting.sum == pytest.approx(3)
    clock.turn(64)
    assert work(app)["flaky"].waiting.sum == pytest.approx(4)


def test_a_replayed_task_waits_from_its_replay(app, clock):
    app.send(app.signature("broken"))
    work(app)
    clock.turn(1000)
    assert app.operations.replay("default") == 1
    clock.turn(9)
    assert work(app)["broken"].waiting.sum == pytest.approx(9)


def test_a_task_that_runs_is_counted_once_before_it_ends(app, clock):
    """As the status reporter does every two seconds."""
    worker = app.worker()
    stages = worker._stages
    app.send(app.signature("take"))
    clock.turn(5)
    (run,) = stages.receiver.start(stages.receiver.receive(["default"], 1, 0.0))
    stages.activity.began([run])
    assert stages.activity.counts()["take"].waiting.count == 0, "its function has not begun"
    stages.execution.admit(run)
    clock.turn(50)
    for _ in range(2):
        stages.activity.began([run])
        waiting = stages.activity.counts()["take"].waiting
        assert (waiting.count, waiting.sum) == (1, pytest.approx(5))
    stages.finisher.settle([stages.execution.returned(run, 0.0)])
    counts = stages.activity.counts()["take"]
    assert (counts.waiting.count, counts.run.count, counts.run.sum) == (1, 1, pytest.approx(50))


def record(state, **at):
    history = {State[name]: StateChange(moment) for name, moment in at.items()}
    return TaskRecord(task_id="1", state=state, history=history)


@pytest.mark.parametrize(
    ("headers", "due", "before", "since"),
    [
        ({"c": "json"}, None, record(State.PENDING, PENDING=7.0), 7.0),
        ({"c": "json"}, None, None, None),
        ({"c": "json"}, 9.0, None, 9.0),
        ({"c": "json"}, 9.0, record(State.PENDING, PENDING=7.0), 9.0),
        ({"c": "json"}, 5.0, record(State.PENDING, PENDING=7.0), 7.0),
        ({"c": "json"}, None, record(State.STARTED, PENDING=7.0, STARTED=8.0), None),
        ({"c": "json"}, None, record(State.RECEIVED, PENDING=7.0, RECEIVED=8.0), 7.0),
        ({"c": "json", "drivetrain-follows": "8.5"}, None, record(State.PENDING, PENDING=7.0), 8.5),
        ({"c": "json", "drivetrain-follows": "1"}, None, record(State.PENDING, PENDING=7.0), 7.0),
        ({"c": "json", "drivetrain-follows": "1"}, None, None, None),
        ({"c": "json", "drivetrain-published": "9.5"}, None, None, 9.5),
        ({"c": "json", "drivetrain-published": "nan"}, None, record(State.PENDING, PENDING=7.0), 7.0),
        ({"c": "json", "drivetrain-published": "inf"}, 8.0, None, 8.0),
        ({"c": "json", "drivetrain-published": "soon"}, 8.0, None, 8.0),
    ],
)
def test_since_when_a_task_could_have_begun(headers, due, before, since):
    assert ready_since(headers, due, before) == since
