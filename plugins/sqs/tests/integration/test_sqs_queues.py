"""Queues that are there or not, made by us or by others, with a redrive policy or without."""

import itertools
import json
import time

import pytest

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    Message,
    NotSupported,
    QueueSection,
    ServiceRefused,
    SystemClock,
)
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import connect
from drivetrain_sqs.options import Options

_numbers = itertools.count()
PATIENCE = 30


def message(name, queue="q", **fields):
    return Message(id=str(name), queue=queue, body=b"body", headers={"a": "b"}, **fields)


@pytest.fixture
def make(localstack):
    made, prefix = [], f"queues{next(_numbers)}"

    def make(**options):
        made.append(SqsBroker(Options.parse(localstack.url(prefix, **options)), SystemClock()))
        made[-1].prefix = prefix
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def client(localstack):
    return connect(Options.parse(localstack.url("client"))).request


def die_by_receiving(broker, times):
    """Receive a message so often without settling it that SQS moves it away."""
    for _ in range(times):
        end, taken = time.monotonic() + PATIENCE, []
        while not taken:
            assert time.monotonic() < end
            taken = broker.receive(["q"], limit=1, wait_seconds=1, hold_seconds=30)
        broker.release(taken)
    end = time.monotonic() + PATIENCE
    while not (dead := broker.peek("q", QueueSection.DEAD, limit=10)):
        assert time.monotonic() < end, "SQS has not moved it"
        assert not broker.receive(["q"], limit=1, wait_seconds=0.2, hold_seconds=30)
    return dead


def test_queues_are_made_on_request_only(make):
    broker = make(create="false")
    for call in (
        lambda: broker.publish([message("a")]),
        lambda: broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=30),
    ):
        with pytest.raises(ServiceRefused, match=f"no queue {broker.prefix}--q in SQS; create it, or add create=true"):
            call()
    assert broker.sizes(["q"])["q"].ready == 0
    assert broker.peek("q", QueueSection.DEAD, limit=9) == []
    assert (broker.replay("q"), broker.purge("q", QueueSection.READY), broker.purge("q", QueueSection.DEAD)) == (
        0,
        0,
        0,
    )
    maker = make()
    maker.publish([message("a")])
    broker.publish([message("b")])


def test_a_missing_dead_letter_queue_is_an_error_before_the_first_message(make, client):
    """And not by the first message that cannot be run, months later, which would stop it."""
    maker, broker = make(), make(create="false")
    maker.publish([message("a")])
    with pytest.raises(ServiceRefused, match=f"no queue {broker.prefix}--q-dead in SQS"):
        broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    client.create_queue(QueueName=f"{broker.prefix}--q-dead")
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    assert taken.message.id == "a"


def test_a_new_queue_has_the_longest_retention(make, client):
    broker = make(message_bytes="262144")
    broker.publish([message("a")])
    url = client.get_queue_url(QueueName=f"{broker.prefix}--q")["QueueUrl"]
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["MessageRetentionPeriod"], attributes["MaximumMessageSize"]) == ("1209600", "262144")
    assert broker.capabilities.largest_message_bytes == 262_144 - 65_536


def test_a_deleted_queue_is_an_error(make, client):
    broker = make()
    broker.publish([message("a")])
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=f"{broker.prefix}--q")["QueueUrl"])
    broker.acknowledge([taken])  # it is gone, as it should be
    with pytest.raises(ServiceRefused, match="no queue"):
        broker.publish([message("b")])


def test_max_receive_count_sets_a_redrive_policy(make):
    broker = make(max_receive_count="2")
    broker.publish([message("a")])
    (dead,) = die_by_receiving(broker, 2)
    assert "redrive policy" in dead.headers[DEAD_REASON_HEADER]
    assert time.time() - 60 < float(dead.headers[DEAD_AT_HEADER]) <= time.time() + 1
    assert broker.replay("q") == 1
    (again,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    assert (again.message.id, again.redelivered, dict(again.message.headers)) == ("a", True, {"a": "b"})


def test_an_existing_redrive_policy_is_used(make, client):
    broker = make(create="false")
    shared = client.create_queue(QueueName=f"{broker.prefix}--graves")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=shared, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    for name in ("q", "other"):
        client.create_queue(QueueName=f"{broker.prefix}--{name}", Attributes={"RedrivePolicy": policy})
    broker.publish([message("by receiving")])
    assert [each.id for each in die_by_receiving(broker, 2)] == ["by receiving"]
    broker.publish([message("by hand"), message("of another", "other")])
    for queue in ("q", "other"):
        (taken,) = broker.receive([queue], limit=1, wait_seconds=5, hold_seconds=30)
        broker.dead_letter([(taken, "why")])
    assert sorted(each.id for each in broker.peek("q", QueueSection.DEAD, limit=9)) == ["by hand", "by receiving"]
    assert [each.id for each in broker.peek("other", QueueSection.DEAD, limit=9)] == ["of another"]
    assert broker.replay("q", ["by hand"]) == 1
    assert broker.purge("q", QueueSection.DEAD) == 1
    assert [each.id for each in broker.peek("other", QueueSection.DEAD, limit=9)] == ["of another"]


def test_a_message_of_another_program_is_received_unchanged(make, client):
    broker = make()
    broker.sizes(["q"])
    broker.publish([message("a")])
    broker.acknowledge(broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30))
    url = client.get_queue_url(QueueName=f"{broker.prefix}--q")["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="hello")
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    assert (taken.message.body, dict(taken.message.headers)) == (b"hello", {})
    broker.dead_letter([(taken, "unreadable")])
    assert [each.body for each in broker.peek("q", QueueSection.DEAD, limit=9)] == [b"hello"]


def test_purging_delayed_messages_is_not_supported(make):
    with pytest.raises(NotSupported, match="cannot drop the delayed messages"):
        make().purge("q", QueueSection.DELAYED)


def test_a_too_long_reason_is_cut(make):
    broker = make(message_bytes="131072")
    broker.publish([Message(id="a", queue="q", body=b"x" * broker.capabilities.largest_message_bytes)])
    (taken,) = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    broker.dead_letter([(taken, "why \n" * 100_000)])
    (dead,) = broker.peek("q", QueueSection.DEAD, limit=9)
    assert dead.headers[DEAD_REASON_HEADER].startswith("why \nwhy")
    assert len(dead.body) == broker.capabilities.largest_message_bytes
