"""Receiving from queues that a test makes up, by a clock that stands."""

import json
import math

import pytest

from drivetrain.contract import SystemClock
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.receive_buffer import Arrival, QueueBuffer
from services.sqs_client import Calls, FaultyClient

NOW = 1_800_000_000.0


class Standing(SystemClock):
    """The time is always the same; who waits looks again at once."""

    def now(self):
        return NOW

    def monotonic(self):
        return NOW

    def wait(self, condition, timeout):
        return condition.wait(0.001)


class Imagined:
    """SQS with one queue, whose messages come in their order and stay hidden."""

    def __init__(self, etas):
        self._left = [self._message(name, eta) for name, eta in etas.items()]
        self.hidden = {}

    def get_queue_url(self, QueueName):
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def receive_message(self, MaxNumberOfMessages, **parameters):
        taken, self._left = self._left[:MaxNumberOfMessages], self._left[MaxNumberOfMessages:]
        return {"Messages": taken}

    def change_message_visibility_batch(self, QueueUrl, Entries):
        self.hidden.update({entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in Entries})
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def _message(self, name, eta):
        envelope = json.dumps({"id": name, "headers": {}, "eta": eta})
        return {
            "MessageId": name,
            "ReceiptHandle": name,
            "Body": "body",
            "Attributes": {"ApproximateReceiveCount": "1"},
            "MessageAttributes": {"drivetrain": {"DataType": "String", "StringValue": envelope}},
        }


def broker_on(imagined):
    client = FaultyClient(imagined, Calls())
    options = Options.parse("sqs://eu-central-1?namespace=app&create=true")
    return SqsBroker(options, Standing(), lambda options: Clients(client, client))


def test_ready_messages_do_not_wait_behind_many_that_are_almost_due():
    soon = {f"soon {number}": NOW + 0.9 for number in range(40)}
    imagined = Imagined({**soon, "ready": None})
    broker = broker_on(imagined)
    (taken,) = broker.receive(["q"], limit=4, wait_seconds=1, hold_seconds=30)
    assert taken.message.id == "ready"
    # No more are kept here than were asked for; the others come when they are due, and not before.
    assert len(imagined.hidden) >= 40 - 2 * 4
    assert set(imagined.hidden.values()) == {1}
    broker.close()


def test_almost_due_messages_within_the_limit_stay_in_the_buffer():
    imagined = Imagined({"soon": NOW + 0.9, "ready": None})
    broker = broker_on(imagined)
    taken = broker.receive(["q"], limit=4, wait_seconds=1, hold_seconds=30)
    assert [each.message.id for each in taken] == ["ready"]
    assert not imagined.hidden
    broker.close()
    assert imagined.hidden == {"soon": 0}, "it is not given back"


@pytest.mark.parametrize("eta", [math.nan, -math.inf])
def test_a_message_with_an_invalid_eta_blocks_no_other(eta):
    broker = broker_on(Imagined({"odd": eta, "soon": NOW + 0.9, "ready": None}))
    taken = broker.receive(["q"], limit=4, wait_seconds=0, hold_seconds=30)
    assert sorted(each.message.id for each in taken) == ["odd", "ready"]
    broker.close()


def test_a_message_that_comes_again_after_its_hold_is_delivered_again():
    """Another copy within the hold is a duplicate, which SQS makes now and then."""
    clock = Sleepy()
    broker = SqsBroker(Options.parse("sqs://eu-central-1?namespace=app&create=true"), clock, lambda options: None)
    buffer = QueueBuffer("q", Role.MAIN, SqsQueue("app-q", "https://sqs/app-q"))
    raw = {"MessageId": "m", "ReceiptHandle": "h", "Body": "body", "Attributes": {"ApproximateReceiveCount": "1"}}

    def arrival():
        return Arrival(raws=[raw], began=clock.monotonic() - 0.9, wait_seconds=20, visibility_seconds=2)

    (first,) = broker._buffer.admit(buffer, arrival())
    clock.time = first.held_until - 0.1
    assert not broker._buffer.admit(buffer, arrival()), "the duplicate is delivered"
    clock.time = first.held_until + 0.1
    (again,) = broker._buffer.admit(buffer, arrival())
    assert again is not first
    assert not first.is_open(clock.monotonic())


class Returning(Imagined):
    """Its letters are so many that the first come again before the last were seen."""

    def __init__(self, etas):
        super().__init__(etas)
        self.calls = 0

    def get_queue_attributes(self, QueueUrl, AttributeNames):
        return {"Attributes": {"ApproximateNumberOfMessages": "1"} if "RedrivePolicy" not in AttributeNames else {}}

    def receive_message(self, **parameters):
        self.calls += 1
        assert self.calls < 50, "the same letters are looked at again and again"
        return {"Messages": list(self._left)}


def test_the_search_for_a_dead_letter_among_very_many_ends():
    imagined = Returning({"a": None, "b": None})
    broker = broker_on(imagined)
    assert broker.replay("q", ["c"]) == 0
    assert set(imagined.hidden) == {"a", "b"}, "they are not given back"
    broker.close()


def test_a_process_that_was_suspended_does_not_count_on_holds_that_have_ended():
    """Stopped during a poll, for longer than the poll and the hold last."""
    clock = Sleepy()
    raw = {"MessageId": "m", "ReceiptHandle": "h", "Body": "body", "Attributes": {"ApproximateReceiveCount": "1"}}
    broker = SqsBroker(Options.parse("sqs://eu-central-1?namespace=app&create=true"), clock, lambda options: None)
    buffer = QueueBuffer("q", Role.MAIN, SqsQueue("app-q", "https://sqs/app-q"))
    began = clock.monotonic()

    def arrival(raw):
        return Arrival(raws=[raw], began=began, wait_seconds=20, visibility_seconds=33)

    clock.time += 20
    (prompt,) = broker._buffer.admit(buffer, arrival(raw))
    assert prompt.is_open(clock.monotonic() + 32)
    clock.time += 100
    (late,) = broker._buffer.admit(buffer, arrival({**raw, "MessageId": "n"}))
    assert not late.is_open(clock.monotonic())


class Sleepy(SystemClock):
    def __init__(self):
        self.time = 1e9

    def now(self):
        return self.time

    def monotonic(self):
        return self.time
