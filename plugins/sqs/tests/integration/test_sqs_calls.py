"""What the driver asks of SQS: how often, and with which permissions."""

import itertools
import json
import re
import time
from pathlib import Path

import pytest

from drivetrain.contract import Message, QueueSection, SystemClock
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients, connect
from drivetrain_sqs.options import Options
from services.sqs_client import Calls, FaultyClient

_numbers = itertools.count()
README = Path(__file__).parents[2] / "README.md"


def message(name, queue="q", **fields):
    return Message(id=str(name), queue=queue, body=b"body", **fields)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def make(moto, calls):
    """Makes brokers whose calls are noted, all on one prefix."""
    made, prefix = [], f"calls{next(_numbers)}"

    def make(**options):
        def noted(parsed):
            clients = connect(parsed)
            return Clients(FaultyClient(clients.long_poll, calls), FaultyClient(clients.request, calls))

        url = moto.url(prefix, **options)
        made.append(SqsBroker(Options.parse(url), SystemClock(), noted))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


def test_three_calls_for_ten_messages_under_load(make, calls):
    """Under load: there are more messages than are taken, so that no call comes back half empty."""
    broker, number = make(), 180
    broker.publish([message("first")])
    broker.acknowledge(broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30))
    calls.made.clear()
    broker.publish([message(each) for each in range(number)])
    sent, seen = calls.counts()["send_message_batch"], 0
    assert sent <= number / 10
    calls.made.clear()
    while seen < 100:
        taken = broker.receive(["q"], limit=100, wait_seconds=5, hold_seconds=30)
        broker.acknowledge(taken)
        seen += len(taken)
    counts = calls.counts()
    assert set(counts) == {"receive_message", "delete_message_batch"}
    assert sum(counts.values()) <= 2 * seen / 10, f"{counts} for {seen} messages"


def test_a_message_that_comes_alone_costs_three_calls(make, calls):
    broker = make()
    broker.publish([message("first")])
    broker.acknowledge(broker.receive(["q"], limit=8, wait_seconds=5, hold_seconds=30))
    calls.made.clear()
    for each in range(5):
        broker.publish([message(each)])
        (taken,) = broker.receive(["q"], limit=8, wait_seconds=5, hold_seconds=30)
        broker.acknowledge([taken])
    assert calls.counts() == {"send_message_batch": 5, "receive_message": 5, "delete_message_batch": 5}


def policies():
    """The policies of the README, by the word that stands in the heading before each."""
    found = re.findall(r"^#### (\w+).*?```json\n(.*?)```", README.read_text(), re.DOTALL | re.MULTILINE)
    return {word.lower(): actions(json.loads(text)) for word, text in found}


def actions(policy):
    return {
        action
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


@pytest.mark.parametrize("fifo", ["false", "true"])
def test_each_role_needs_the_actions_of_its_policy_and_no_others(make, calls, fifo):
    setup = make(fifo=fifo)
    later = time.time() + 100
    setup.publish([message("made"), message("later", eta=later)])
    taken = setup.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30)
    setup.dead_letter([(taken[0], "why")])
    setup.replay("q")
    setup.acknowledge(setup.receive(["q"], limit=1, wait_seconds=5, hold_seconds=30))
    used = {}

    calls.made.clear()
    producer = make(create="false", fifo=fifo)
    producer.ping()
    producer.publish([message("a"), message("b"), message("c"), message("d", eta=later)])
    used["producer"] = calls.actions()

    calls.made.clear()
    worker = make(create="false", fifo=fifo)
    worker.ping()
    taken = []
    while len(taken) < 3:
        taken += worker.receive(["q"], limit=3 - len(taken), wait_seconds=5, hold_seconds=30)
    worker.extend(taken, hold_seconds=60)
    worker.acknowledge(taken[:1])
    worker.release(taken[1:2], delay_seconds=100)
    worker.dead_letter([(taken[2], "why")])
    worker.publish([message("next")])
    used["worker"] = calls.actions()

    calls.made.clear()
    operator = make(create="false", fifo=fifo)
    operator.ping()
    operator.sizes(["q"])
    assert len(operator.peek("q", QueueSection.DEAD, limit=10)) == 1
    assert operator.replay("q") == 1
    assert operator.purge("q", QueueSection.READY) >= 1
    assert operator.purge("q", QueueSection.DEAD) == 0
    used["operator"] = calls.actions()

    written = policies()
    assert used == {role: written[role] for role in used}


def test_making_queues_needs_one_more_action(make, calls):
    broker = make(max_receive_count="5")
    broker.publish([message("a")])
    assert calls.actions() - policies()["producer"] == policies()["creating"] - policies()["producer"]
