"""A chord with retries on Redis and RabbitMQ: every span is there, and the tasks can be followed from the sender."""

import os
import signal
import subprocess
import sys

import pytest

from drivetrain import App, chord, current_task, retry
from services.rabbitmq import RabbitServer
from services.redis import RedisServer
from support.waiting import until


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"), durable=False)
    server.process.start()
    yield server
    server.process.kill()


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["redis", "rabbitmq"])
def urls(request, redis):
    """The system of the broker, its port, and the URLs of broker and backend."""
    if request.param == "redis":
        return "redis", redis.port, (redis.url,)
    server = request.getfixturevalue("rabbitmq")
    return "rabbitmq", server.port, (server.url(), redis.url)


def test_a_chord_can_be_followed(telemetry, urls, tmp_path):
    system, port, drivers = urls
    app = App(*drivers, name=tmp_path.name, plugins=[telemetry.plugin()], concurrency=2)

    @app.task(name="flaky", retry=retry.fixed(0.01, max_retries=2))
    def flaky(x: int) -> int:
        if current_task().attempt == 0:
            raise ConnectionError("not yet")
        return x

    @app.task(name="total", pool="loop")
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    with app:
        with telemetry.tracer.start_as_current_span("request") as request:
            handle = app.send(chord([flaky.s(n) for n in range(3)], total.s()))
        with app.worker():
            assert handle.get(timeout=60) == 3
    assert telemetry.open.names == {}
    for span in telemetry.spans():
        if span.name != "request":
            assert span.attributes["messaging.system"] == system
            assert (span.attributes["server.address"], span.attributes["server.port"]) == ("127.0.0.1", port)
    created = {span.context.span_id: span for span in telemetry.spans("create")}
    assert {span.context.trace_id for span in created.values()} == {request.get_span_context().trace_id}
    runs = telemetry.spans("process")
    found = sorted(tuple(span.attributes[f"drivetrain.task.{name}"] for name in ("name", "attempt")) for span in runs)
    assert found == [*[("flaky", 0)] * 3, *[("flaky", 1)] * 3, ("total", 0)]
    for span in runs:
        [link] = span.links
        creation = created[link.context.span_id]
        assert creation.attributes["messaging.message.id"] == span.attributes["messaging.message.id"]
        assert creation.attributes["drivetrain.workflow.id"] == span.attributes["drivetrain.workflow.id"]
    sent, received, settled = (
        sum(span.attributes.get("messaging.batch.message_count", 1) for span in telemetry.spans(operation))
        for operation in ("send", "receive", "acknowledge")
    )
    assert sent == 7
    assert received >= settled >= 7


def test_spans_of_a_worker_process_are_exported_when_it_stops(children, tmp_path):
    command = [sys.executable, "-m", "drivetrain.cli", "worker", "otel_tasks:app", "--plugins", "opentelemetry"]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        children.pid.send().get(timeout=60)
        until(lambda: children.app.operations.sizes(["default"])["default"].in_flight == 0, "it is settled")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert len(children.spans("process")) == 1
    assert sum(span["attributes"].get("messaging.batch.message_count", 1) for span in children.spans("receive")) == 1
    assert children.spans("acknowledge")
