"""How the spans of senders and runs belong together."""

import json
import logging
from contextlib import contextmanager

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from drivetrain import App, Rate, chain, chord, current_task, group, retry
from drivetrain.contract import ConfigurationError, PluginContext
from drivetrain.testing import VirtualTime
from drivetrain_opentelemetry import TraceIds, make_plugin

DEFAULT = {"queue": "default"}


def make_app(telemetry, **options):
    app = App("memory://", plugins=[telemetry.plugin(**options)])
    app.seen = []

    @app.task(name="double")
    def double(x: int) -> int:
        app.seen.append((trace.get_current_span().get_span_context(), baggage.get_baggage("tenant")))
        return 2 * x

    @app.task(name="later", pool="loop")
    async def later(x: int) -> int:
        app.seen.append((trace.get_current_span().get_span_context(), baggage.get_baggage("tenant")))
        return 2 * x

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="again", retry=retry.fixed(0, max_retries=2))
    def again() -> int:
        if current_task().attempt < 2:
            raise ConnectionError("not yet")
        return current_task().attempt

    @app.task(name="sends")
    def sends() -> None:
        app.signature("double", 1).set(queue="default").send()

    return app


@pytest.fixture
def app(telemetry):
    with make_app(telemetry) as app:
        yield app


def linked(span):
    return [link.context.span_id for link in span.links]


@contextmanager
def tenant(name):
    token = context.attach(baggage.set_baggage("tenant", name))
    try:
        yield
    finally:
        context.detach(token)


@pytest.mark.parametrize("task", ["double", "later"])
def test_a_run_links_to_its_creation_and_has_the_baggage_of_its_sender(telemetry, app, task):
    with telemetry.tracer.start_as_current_span("request"), tenant("Ada"):
        app.signature(task, 1).set(queue="default").send()
    app.worker().drain()
    [create], [process] = telemetry.spans("create"), telemetry.spans("process")
    [request] = [span for span in telemetry.spans() if span.name == "request"]
    assert create.parent.span_id == request.context.span_id
    assert process.parent is None, "a trace of its own"
    assert linked(process) == [create.context.span_id]
    assert app.seen == [(process.context, "Ada")]
    assert trace.get_current_span().get_span_context().is_valid is False
    assert telemetry.open.names == {}


def test_the_creation_may_be_the_parent(telemetry):
    with make_app(telemetry, process_parent=True) as app:
        app.signature("double", 1).set(queue="default").send()
        app.worker().drain()
    [create], [process], [send] = telemetry.spans("create"), telemetry.spans("process"), telemetry.spans("send")
    assert process.parent.span_id == create.context.span_id
    assert linked(process) == [create.context.span_id]
    assert send.parent.span_id == create.context.span_id, "a single message"


def test_an_ambient_span_stays_the_parent(telemetry, app):
    app.signature("double", 1).set(queue="default").send()
    with telemetry.tracer.start_as_current_span("ambient") as ambient:
        app.worker().drain()
    [process] = telemetry.spans("process")
    assert process.parent.span_id == ambient.get_span_context().span_id


def test_with_the_creation_as_parent_an_ambient_span_is_linked(telemetry):
    with make_app(telemetry, process_parent=True) as app:
        app.signature("double", 1).set(queue="default").send()
        with telemetry.tracer.start_as_current_span("ambient") as ambient:
            app.worker().drain()
    [create], [process] = telemetry.spans("create"), telemetry.spans("process")
    assert process.parent.span_id == create.context.span_id
    assert linked(process) == [create.context.span_id, ambient.get_span_context().span_id]


def test_each_attempt_is_a_span_that_links_to_the_one_creation(telemetry, app):
    app.signature("again").set(queue="default").send()
    app.worker().drain()
    [create] = telemetry.spans("create")
    attempts = telemetry.spans("process")
    assert [span.attributes["drivetrain.task.attempt"] for span in attempts] == [0, 1, 2]
    assert [linked(span) for span in attempts] == [[create.context.span_id]] * 3
    assert [span.status.status_code.name for span in attempts] == ["ERROR", "ERROR", "UNSET"]
    assert [event.name for event in attempts[0].events] == ["exception"]
    assert len({span.context.trace_id for span in attempts}) == 3


@pytest.mark.parametrize("kind", ["chain", "group", "chord", "nested"])
@pytest.mark.parametrize("ambient", [True, False])
def test_all_tasks_of_a_workflow_are_created_in_one_trace(telemetry, app, kind, ambient):
    double, total = app.signature("double", 1).set(**DEFAULT), app.signature("total").set(**DEFAULT)
    workflow, number = {
        "chain": (chain(double, app.signature("double").set(**DEFAULT)), 2),
        "group": (group([double, double]), 2),
        "chord": (chord([double, double], total), 3),
        "nested": (chain(chord([double, chain(double, app.signature("double").set(**DEFAULT))], total), double), 5),
    }[kind]
    if kind == "nested":
        workflow = chain(
            chord([double, chain(double, app.signature("double").set(**DEFAULT))], total),
            app.signature("double").set(**DEFAULT),
        )
    if ambient:
        with telemetry.tracer.start_as_current_span("request"):
            app.send(workflow)
    else:
        app.send(workflow)
    app.worker().drain()
    created, processed = telemetry.spans("create"), telemetry.spans("process")
    assert len(created) == len(processed) == number
    assert len({span.context.trace_id for span in created}) == 1
    assert sorted(linked(span) for span in processed) == sorted([span.context.span_id] for span in created)
    [workflow_id] = {span.attributes["drivetrain.workflow.id"] for span in (*created, *processed)}
    assert workflow_id == created[0].attributes["messaging.message.conversation_id"]


def test_workflows_without_an_ambient_span_do_not_share_a_trace(telemetry, app):
    for _ in range(2):
        app.send(group([app.signature("double", n).set(**DEFAULT) for n in range(2)]))
    app.signature("double", 1).set(**DEFAULT).send()
    assert len({span.context.trace_id for span in telemetry.spans("create")}) == 3


def test_a_task_that_sends_another_is_in_its_trace(telemetry, app):
    app.signature("sends").set(**DEFAULT).send()
    app.worker().drain()
    outer, _ = telemetry.spans("process")
    _, inner = telemetry.spans("create")
    assert inner.parent.span_id == outer.context.span_id
    [send] = [span for span in telemetry.spans("send") if span.parent]
    assert send.parent.span_id == outer.context.span_id


def test_a_context_that_the_sender_has_set_is_not_changed(telemetry, app):
    with telemetry.tracer.start_as_current_span("elsewhere") as elsewhere:
        headers = {}
        TraceContextTextMapPropagator().inject(headers)
    app.signature("double", 1).set(queue="default", headers=headers).send()
    app.worker().drain()
    assert telemetry.spans("create") == []
    span_id = elsewhere.get_span_context().span_id
    [process], [send] = telemetry.spans("process"), telemetry.spans("send")
    assert linked(process) == linked(send) == [span_id]


def test_a_batch_is_one_send_receive_and_settle_span(telemetry, app):
    app.send_many([app.signature("double", n).set(**DEFAULT) for n in range(5)])
    app.worker().drain()
    created = {span.context.span_id for span in telemetry.spans("create")}
    for operation in ("send", "receive", "acknowledge"):
        [span] = telemetry.spans(operation)
        assert span.attributes["messaging.batch.message_count"] == 5
        assert set(linked(span)) == created
        assert span.start_time <= span.end_time


def test_links_of_a_large_batch_are_bounded(telemetry, app):
    app.send_many([app.signature("double", n).set(**DEFAULT) for n in range(300)])
    [send] = telemetry.spans("send")
    assert (send.attributes["messaging.batch.message_count"], len(send.links)) == (300, 128)


@pytest.mark.parametrize(
    ("options", "operations"),
    [
        ({"traces": False}, set()),
        ({"batch_spans": False}, {"create", "process"}),
        ({"create_spans": False}, {"send", "receive", "process", "acknowledge"}),
    ],
)
def test_options_choose_the_spans(telemetry, options, operations):
    with make_app(telemetry, **options) as app:
        with telemetry.tracer.start_as_current_span("request") as request:
            app.signature("double", 1).set(queue="default").send()
        app.worker().drain()
    found = {span.attributes.get("messaging.operation.name") for span in telemetry.spans()} - {None}
    assert found == operations
    assert telemetry.metrics()
    if options == {"create_spans": False}:
        [process] = telemetry.spans("process")
        assert linked(process) == [request.get_span_context().span_id]


def test_without_metrics_there_are_none(telemetry):
    with make_app(telemetry, metrics=False) as app:
        app.signature("double", 1).set(queue="default").send()
        app.worker().drain()
    assert telemetry.metrics() == {}
    assert telemetry.spans("process")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"trace": True}, "'trace' is unknown; did you mean 'traces'?"),
        ({"metrics": 1}, "metrics is 1; it must be true or false"),
    ],
)
def test_wrong_options_are_refused(options, fault):
    with pytest.raises(ConfigurationError) as caught:
        make_plugin(PluginContext(app="a", broker="memory://", backend="memory://", options=options))
    assert caught.value.faults == (fault,)


# Logs


def ids(span):
    return trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id)


def test_what_drivetrain_logs_about_a_failure_has_the_ids_of_its_span(telemetry, app, caplog):
    caplog.handler.addFilter(TraceIds())
    app.signature("again").set(queue="default").send()
    with caplog.at_level(logging.INFO, "drivetrain.task"):
        app.worker().drain()
    logged = [(one.trace_id, one.span_id) for one in caplog.records if one.name == "drivetrain.task"]
    failed = [span for span in telemetry.spans("process") if span.status.status_code.name == "ERROR"]
    assert logged == [ids(span) for span in failed]


def test_json_lines_have_the_ids_with_the_option_log_ids(telemetry, monkeypatch, capsys):
    from drivetrain.cli.logging_setup import FORMATS, TaskFilter

    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS["json"]())
    handler.addFilter(TaskFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    try:
        for _ in range(2):
            make_app(telemetry, log_ids=True).close()
        with telemetry.tracer.start_as_current_span("request") as request:
            logger.error("inside")
        logger.error("outside")
    finally:
        logger.removeHandler(handler)
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert inside["trace_id"] == trace.format_trace_id(request.get_span_context().trace_id)
    assert len(inside["span_id"]) == 16
    assert "trace_id" not in outside


def test_waits_for_limits_are_measured_by_name_and_shown_by_the_process_span(telemetry):
    app = App("memory://", plugins=[telemetry.plugin()])
    app.task(name="call", limits=[Rate("api:{user}", 1, per=30)])(lambda user: None)
    with VirtualTime(app) as clock:
        app.send_many([app.signature("call", "ada") for _ in range(2)])
        clock.run_for(minutes=1)
    first, second = telemetry.spans("process")
    assert "drivetrain.limit.names" not in first.attributes
    assert second.attributes["drivetrain.limit.names"] == ("api:{user}",)
    assert second.attributes["drivetrain.limit.wait"] == pytest.approx(30, abs=1)
    [(attributes, point)] = telemetry.points("drivetrain.limit.wait.duration")
    assert attributes == {"drivetrain.limit.name": "api:{user}"}
    assert (point.count, point.sum) == (1, pytest.approx(30, abs=1))
