"""No span is left open, and no run is without a span, however the run ends."""

import asyncio
import threading

import pytest
from opentelemetry import trace

from drivetrain import App, State, TaskCancelled, TaskFailed, current_task
from drivetrain.contract import Transition
from support.faults import hurry
from support.waiting import happened, until


@pytest.fixture
def app(telemetry, tmp_path):
    app = App(f"sqlite:///{tmp_path}/work.db", plugins=[telemetry.plugin()], lease_seconds=0.3, concurrency=2)
    app.begun, app.gate = threading.Event(), threading.Event()
    hurry(app)

    @app.task(name="held")
    def held() -> int:
        app.begun.set()
        happened(app.gate, "the gate opens")
        return 1

    @app.task(name="until cancelled")
    def until_cancelled() -> None:
        app.begun.set()
        task = current_task()
        until(lambda: task.cancelled, "it is cancelled")

    @app.task(name="sleeps", pool="loop")
    async def sleeps() -> None:
        app.begun.set()
        await asyncio.sleep(600)

    @app.task(name="too long", timeout=0.05)
    def too_long() -> None:
        while True:
            app.gate.wait(0.01)  # a time limit reaches a thread between two steps of Python

    @app.task(name="too long on the loop", pool="loop", timeout=0.05)
    async def too_long_on_the_loop() -> None:
        await asyncio.sleep(60)

    @app.task(name="exits")
    def exits() -> None:
        raise SystemExit(3)

    with app:
        yield app
        app.gate.set()


def send(app, task, *args):
    return app.signature(task, *args).set(queue="default").send()


def only(telemetry):
    [span] = telemetry.wait_for("process", 1)
    assert telemetry.open.names == {}
    return span


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("too long", "drivetrain.worker.context.TaskTimeout"),
        ("too long on the loop", "drivetrain.worker.context.TaskTimeout"),
        ("exits", "SystemExit"),
    ],
)
def test_a_run_that_raises(telemetry, app, task, error):
    with app.worker(), pytest.raises(TaskFailed):
        send(app, task).get(timeout=60)
    span = only(telemetry)
    assert span.attributes["error.type"] == error
    assert span.status.status_code.name == "ERROR"


def test_a_cancelled_run_in_a_thread(telemetry, app):
    with app.worker():
        handle = send(app, "until cancelled")
        happened(app.begun, "it runs")
        handle.cancel()
        telemetry.wait_for("process", 1)
    assert only(telemetry).attributes["drivetrain.run.interrupted"] == "cancelled"


def test_a_cancelled_run_on_the_loop(telemetry, app):
    with app.worker():
        handle = send(app, "sleeps")
        happened(app.begun, "it runs")
        handle.cancel()
        telemetry.wait_for("process", 1)
    span = only(telemetry)
    assert span.attributes["drivetrain.run.interrupted"] == "cancelled"
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_a_lost_lease(telemetry, app):
    with app.worker():
        handle = send(app, "held")
        happened(app.begun, "it runs")
        record = app.runtime.backend.read([handle.id])[0]
        app.runtime.backend.forget([handle.id])
        until(lambda: telemetry.points("drivetrain.runs.interrupted"), "the lease is lost")
        app.runtime.backend.record([taken_over(record)])
        app.gate.set()
        until(lambda: telemetry.points("drivetrain.results.discarded"), "the result is discarded")
    assert only(telemetry).attributes["drivetrain.run.interrupted"] == "lease_lost"


def taken_over(record):
    return Transition(
        task_id=record.task_id,
        state=State.STARTED,
        attempt=record.attempt,
        at=record.history[State.STARTED].at,
        worker="another",
        run="another",
        lease=60.0,
    )


def test_a_run_that_outlasts_the_grace_period(telemetry, app):
    with app.worker(grace_seconds=0):
        send(app, "held")
        happened(app.begun, "it runs")
    span = only(telemetry)
    assert span.attributes["drivetrain.run.interrupted"] == span.attributes["error.type"] == "released"
    app.gate.set()
    assert only(telemetry) is not None, "the end of the function makes no second span"


def test_publishing_that_fails(telemetry):
    from drivetrain import PublishFailed

    app = App("memory://", plugins=[telemetry.plugin()])

    @app.task(name="nothing")
    def nothing() -> None: ...

    def refuse(messages):
        raise PublishFailed({message.id: ValueError("no") for message in messages})

    with app:
        app.runtime.broker.publish = app.runtime.broker.record_and_publish = refuse
        with pytest.raises(PublishFailed):
            nothing.send()
    assert telemetry.open.names == {}
    assert [span.attributes.get("error.type") for span in telemetry.spans("send")] == [
        "drivetrain.contract.errors.PublishFailed"
    ]


# Child processes


def process_spans(children, number):
    return until(lambda: len(found := children.spans()) >= number and found, f"{number} spans are exported")


def test_a_run_in_a_child_process_has_its_span_and_context(children):
    with children.app.worker():
        _, trace_id, span_id = children.pid.send().get(timeout=60)
        with pytest.raises(TaskFailed):
            children.failing.send().get(timeout=60)
    # The pool has killed the process. The batch processor of the SDK alone would have exported after five seconds.
    first, second = process_spans(children, 2)
    assert (first["context"]["trace_id"], first["context"]["span_id"]) == (f"0x{trace_id}", f"0x{span_id}")
    assert second["attributes"]["error.type"] == "LookupError"


def test_a_child_process_that_is_killed_at_the_time_limit(children):
    with children.app.worker(), pytest.raises(TaskFailed):
        children.too_long.send().get(timeout=60)
    [span] = process_spans(children, 1)
    assert span["attributes"]["error.type"] == "drivetrain.worker.context.TaskTimeout"
    assert span["links"]


def test_a_cancelled_run_in_a_child_process(children, tmp_path):
    hurry(children.app)
    path = tmp_path / "pid"
    with children.app.worker():
        handle = children.wait.send(str(path))
        until(lambda: path.exists() and path.read_text(), "it runs")
        handle.cancel()
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)
        [span] = process_spans_after_stop(children)
    assert span["attributes"]["drivetrain.run.interrupted"] == "cancelled"


def process_spans_after_stop(children):
    until(lambda: trace.get_tracer_provider().force_flush() and children.spans(), "it is interrupted")
    return children.spans()


def test_a_child_process_that_dies(children, tmp_path):
    hurry(children.app)
    with children.app.worker():
        assert children.die_once.send(str(tmp_path / "died")).get(timeout=60) == 1
    died, ended = process_spans(children, 2)
    if "error.type" not in died["attributes"]:
        died, ended = ended, died
    assert died["attributes"]["drivetrain.run.interrupted"] == died["attributes"]["error.type"] == "crashed"
    assert "error.type" not in ended["attributes"]
