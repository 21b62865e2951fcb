"""Spans and metrics, compared with the tables of the conventions for messaging.

``conventions_1_44.json`` has the tables of the version that the schema URL names.
"""

import json
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import Histogram, Sum

from drivetrain import App, Retry, chord, current_task, group, retry
from drivetrain.contract import PublishFailed
from drivetrain_opentelemetry.attributes import SCHEMA_URL, Service

TABLES = json.loads(Path(__file__).with_name("conventions_1_44.json").read_text())
KINDS = {
    "create": "messaging.create.producer",
    "send": "messaging.send.client",
    "receive": "messaging.receive.client",
    "process": "messaging.process.consumer",
    "settle": "messaging.settle.client",
}
TYPES = {"string": str, "int": int, "boolean": bool}


def tasks(app):
    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="total", queue="sums")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fail", dead_letter=True, retry=retry.fixed(0, max_retries=1))
    def fail() -> None:
        raise LookupError("no")

    @app.task(name="again")
    def again() -> None:
        if current_task().attempt == 0:
            raise Retry(after=0)

    return app


@pytest.fixture(scope="module")
def story(request):
    """The telemetry of a story with all kinds of spans."""
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    telemetry = conftest.Telemetry()
    app = tasks(App("memory://broker.example:1234", plugins=[telemetry.plugin()]))
    send = app.signature
    with app:
        app.send(send("double", 1).set(queue="default"))
        app.send(
            chord(group(send("double", n).set(queue="default") for n in range(3)), send("total").set(queue="sums"))
        )
        app.send(send("fail").set(queue="default"))
        app.send(send("again").set(queue="default"))
        app.worker(queues=["default", "sums"]).drain()
        refuse_publishing(app)
        with pytest.raises(PublishFailed):
            send("double", 1).set(queue="default").send()
    return telemetry


def refuse_publishing(app):
    def refuse(messages):
        raise PublishFailed({message.id: ValueError("no") for message in messages})

    app.runtime.broker.publish = app.runtime.broker.record_and_publish = refuse


def table_of(span):
    return TABLES["spans"][KINDS[span.attributes["messaging.operation.type"]]]


def test_the_story_has_all_kinds_of_spans(story):
    assert {span.attributes["messaging.operation.type"] for span in story.spans()} == set(KINDS)
    settled = {span.attributes["messaging.operation.name"] for span in story.spans()} - set(KINDS)
    assert settled == {"acknowledge", "dead_letter"}


def test_names_kinds_and_schema(story):
    for span in story.spans():
        destination = span.attributes.get("messaging.destination.name")
        operation = span.attributes["messaging.operation.name"]
        assert span.name == (f"{operation} {destination}" if destination else operation)
        assert span.kind.name == table_of(span)["kind"]
        assert span.instrumentation_scope.schema_url == SCHEMA_URL == "https://opentelemetry.io/schemas/1.44.0"


def test_required_attributes_are_there(story):
    for span in story.spans():
        required = {name for name, row in table_of(span)["attributes"].items() if row["level"] == "Required"}
        assert required <= set(span.attributes), span.name


def test_recommended_attributes_that_drivetrain_knows_are_there(story):
    for span in story.spans():
        assert span.attributes["server.address"] == "broker.example"
        assert span.attributes["server.port"] == 1234
        if span.attributes["messaging.operation.type"] == "process":
            assert span.attributes["messaging.client.id"]


def test_conditional_attributes_are_there_if_their_condition_holds(story):
    for span in story.spans():
        single = "messaging.message.id" in span.attributes
        assert single != ("messaging.batch.message_count" in span.attributes), "a batch has a count, a message an id"
        assert not single or "messaging.destination.name" in span.attributes
        failed = span.status.status_code.name == "ERROR"
        assert failed == ("error.type" in span.attributes)
    failed = {(span.name, span.attributes["error.type"]) for span in story.spans() if "error.type" in span.attributes}
    assert failed == {("process default", "LookupError"), ("send default", "drivetrain.contract.errors.PublishFailed")}


def test_no_attribute_is_invented(story):
    for span in story.spans():
        known = table_of(span)["attributes"]
        for name, value in span.attributes.items():
            assert name.startswith("drivetrain.") or isinstance(value, TYPES[known[name]["type"]]), (span.name, name)


def test_send_and_process_spans_link_to_the_creation(story):
    created = {span.context.span_id for span in story.spans("create")}
    for span in story.spans():
        kind = span.attributes["messaging.operation.type"]
        linked = {link.context.span_id for link in span.links}
        if kind in {"send", "process", "settle", "receive"}:
            assert linked <= created
            assert len(linked) == span.attributes.get("messaging.batch.message_count", 1), span.name


# Metrics


@pytest.mark.parametrize("name", TABLES["metrics"])
def test_metrics_are_those_of_the_table(story, name):
    table, metric = TABLES["metrics"][name], story.metrics()[name]
    assert metric.unit == table["unit"]
    assert isinstance(metric.data, {"Histogram": Histogram, "Counter": Sum}[table["instrument"]])
    assert story.points(name)
    required = {attribute for attribute, row in table["attributes"].items() if row["level"] == "Required"}
    for attributes, point in story.points(name):
        assert required <= set(attributes)
        assert all(one in table["attributes"] or one.startswith("drivetrain.") for one in attributes)
        assert attributes["server.address"] == "broker.example", "required where it is available"
        if "buckets" in table:
            assert list(point.explicit_bounds) == table["buckets"]


def test_no_metric_has_an_id(story):
    names = {name for metric in story.metrics() for attributes, _ in story.points(metric) for name in attributes}
    assert not {name for name in names if name.endswith((".id", "_id"))}


def test_messages_are_counted_once(story):
    def total(name, **wanted):
        return sum(
            point.value
            for attributes, point in story.points(name)
            if wanted.items() <= {key.rpartition(".")[2]: value for key, value in attributes.items()}.items()
        )

    assert total("messaging.client.sent.messages") == 10  # 7 tasks, a retry of each of two, and a refused one
    assert total("messaging.client.sent.messages", type="drivetrain.contract.errors.PublishFailed") == 1
    assert total("messaging.client.consumed.messages") == 9
    assert total("drivetrain.tasks") == 9
    assert total("drivetrain.tasks", outcome="success") == 6
    assert total("drivetrain.tasks", outcome="retry") == 2
    assert total("drivetrain.tasks", outcome="failure") == 1


def test_operations_and_runs_are_measured_as_often_as_they_happen(story):
    measured = sum(point.count for _, point in story.points("messaging.client.operation.duration"))
    kinds = {"send", "receive", "settle"}
    assert measured == sum(span.attributes["messaging.operation.type"] in kinds for span in story.spans())
    processed = story.points("messaging.process.duration")
    assert sum(point.count for _, point in processed) == len(story.spans("process")) == 9
    failed = [attributes for attributes, _ in processed if "error.type" in attributes]
    assert [(one["drivetrain.task.name"], one["error.type"]) for one in failed] == [("fail", "LookupError")]
    waited = story.points("drivetrain.task.wait.duration")
    assert sum(point.count for _, point in waited) == 9


@pytest.mark.parametrize(
    ("url", "attributes"),
    [
        ("amqp://***@rabbit/vhost", {"messaging.system": "rabbitmq", "server.address": "rabbit", "server.port": 5672}),
        ("amqps://[::1]:9", {"messaging.system": "rabbitmq", "server.address": "::1", "server.port": 9}),
        ("redis://***@cache:1/0?x=…", {"messaging.system": "redis", "server.address": "cache", "server.port": 1}),
        ("redis+cluster://a:1,b:2", {"messaging.system": "redis"}),
        ("unix:///run/redis.sock", {"messaging.system": "redis", "server.address": "/run/redis.sock"}),
        ("sqs://eu-west-1", {"messaging.system": "aws_sqs", "server.address": "eu-west-1"}),
        ("sqlite:///work.db", {"messaging.system": "sqlite"}),
        ("", {"messaging.system": "drivetrain"}),
    ],
)
def test_the_broker_is_described_by_its_url(url, attributes):
    assert dict(Service.of_url(url).attributes) == attributes
