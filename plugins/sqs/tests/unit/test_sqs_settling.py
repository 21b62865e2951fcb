"""Settling one delivery by several callers at once, on a queue that a test makes up."""

import json
from threading import Thread

import pytest

from drivetrain.contract import ServiceError, SystemClock
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.receive_buffer import Arrival, QueueBuffer
from services.sqs_client import client_error

QUEUE = SqsQueue("app-q", "https://sqs/app-q")
RAW = {
    "MessageId": "m",
    "ReceiptHandle": "h",
    "Body": "body",
    "Attributes": {"ApproximateReceiveCount": "1"},
    "MessageAttributes": {
        "drivetrain": {"DataType": "String", "StringValue": json.dumps({"id": "m", "headers": {}})},
    },
}
SETTLEMENTS = {
    "acknowledge": lambda broker, delivery: broker.acknowledge([delivery]),
    "release": lambda broker, delivery: broker.release([delivery]),
    "release with a delay": lambda broker, delivery: broker.release([delivery], delay_seconds=600),
    "dead-letter": lambda broker, delivery: broker.dead_letter([(delivery, "why")]),
}


class OneMessage:
    """SQS with one message. Before each settling call it calls ``meanwhile`` once, in another thread."""

    def __init__(self):
        self.calls = []
        self.errors = []
        self.meanwhile = None

    def get_queue_url(self, QueueName):
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def get_queue_attributes(self, QueueUrl, AttributeNames):
        return {"Attributes": {}}

    def receive_message(self, **parameters):
        return {"Messages": [RAW]}

    def send_message_batch(self, QueueUrl, Entries):
        return self._settle("send", Entries)

    def delete_message_batch(self, QueueUrl, Entries):
        return self._settle("delete", Entries)

    def change_message_visibility_batch(self, QueueUrl, Entries):
        return self._settle("change", Entries)

    def _settle(self, name, entries):
        self.calls.append(name)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            thread = Thread(target=meanwhile)
            thread.start()
            thread.join()
        if self.errors:
            raise self.errors.pop()
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}


@pytest.fixture
def sqs():
    return OneMessage()


@pytest.fixture
def broker(sqs):
    options = Options.parse("sqs://eu-central-1?namespace=app&create=true")
    broker = SqsBroker(options, SystemClock(), lambda options: Clients(sqs, sqs))
    yield broker
    broker.close()


@pytest.fixture
def delivery(broker):
    (delivery,) = broker.receive(["q"], limit=1, wait_seconds=0, hold_seconds=60)
    return delivery


@pytest.mark.parametrize("settle", SETTLEMENTS.values(), ids=SETTLEMENTS)
@pytest.mark.parametrize("other", SETTLEMENTS.values(), ids=SETTLEMENTS)
def test_a_delivery_that_is_being_settled_is_not_settled_by_another_thread(sqs, broker, delivery, settle, other):
    during, extended = [], []

    def settle_too():
        before = len(sqs.calls)
        other(broker, delivery)
        extended.extend(broker.extend([delivery], hold_seconds=60))
        during.extend(sqs.calls[before:])

    sqs.meanwhile = settle_too
    settle(broker, delivery)
    assert extended == [False]
    assert not during
    alone = len(sqs.calls)
    other(broker, delivery)
    assert len(sqs.calls) == alone


@pytest.mark.parametrize("settle", SETTLEMENTS.values(), ids=SETTLEMENTS)
def test_a_settlement_that_has_failed_may_be_repeated(sqs, broker, delivery, settle):
    sqs.errors = [client_error("InternalError", "DeleteMessage", 500)] * 2
    with pytest.raises(ServiceError):
        settle(broker, delivery)
    sqs.errors.clear()
    sqs.calls.clear()
    settle(broker, delivery)
    assert sqs.calls


def test_a_message_that_comes_again_while_it_is_being_released_is_delivered(sqs, broker, delivery):
    """SQS may hand the message out before the answer to the release has arrived."""
    again = []

    def come_again():
        now = SystemClock().monotonic()
        arrival = Arrival(raws=[RAW], began=now, wait_seconds=0, visibility_seconds=60)
        again.extend(broker._buffer.admit(QueueBuffer("q", Role.MAIN, QUEUE), arrival))

    sqs.meanwhile = come_again
    broker.release([delivery])
    assert [receipt.settled for receipt in again] == [False]
    assert delivery.receipt.settled
