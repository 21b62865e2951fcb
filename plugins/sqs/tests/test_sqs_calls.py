"""What the driver asks of SQS: how often, and with which permissions."""

import itertools
import json
import math
import re
import threading
import time
from pathlib import Path

import pytest

from drivetrain.contract import Message, QueueSection, SystemClock
from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.clients import Clients, connect
from drivetrain_sqs.options import Options
from services.sqs_client import Calls, FaultyClient

_numbers = itertools.count()
README = Path(__file__).parents[1] / "README.md"


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
            return Clients(FaultyClient(clients.patient, calls), FaultyClient(clients.prompt, calls))

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


class Turned:
    """A clock that stands while anything is done, and moves when `receive` and a poll of each queue wait."""

    def __init__(self, polls):
        self.time = 1e9
        self._polls = polls
        self._ends = []
        self._turned = threading.Condition()

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    def wait(self, condition, timeout):
        with self._turned:
            if len(self._ends) == self._polls:
                self._turn(min(self.time + timeout, *self._ends, math.inf))
        condition.wait(0.001)  # polls that are over must end
        return False

    def wait_event(self, event, timeout):
        return event.wait(0.001)

    def sleep(self, seconds):
        """As a poll does, in its thread."""
        with self._turned:
            end = self.time + seconds
            self._ends.append(end)
            self._turned.wait_for(lambda: self.time >= end)
            self._ends.remove(end)

    def finish(self):
        with self._turned:
            self._turn(math.inf)

    def _turn(self, then):
        self.time = then
        self._turned.notify_all()


class Quiet:
    """SQS with queues that are always empty."""

    def __init__(self, clock, late_seconds):
        self._clock = clock
        self._late_seconds = late_seconds

    def get_queue_url(self, QueueName):
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def receive_message(self, WaitTimeSeconds, **parameters):
        if WaitTimeSeconds:
            self._clock.sleep(WaitTimeSeconds + self._late_seconds)
        return {}


@pytest.mark.parametrize("late_seconds", [0.0, 0.03, 0.6])
@pytest.mark.parametrize("queues", [["q"], ["urgent", "normal", "bulk"]])
@pytest.mark.parametrize("fifo", ["false", "true"])
def test_an_idle_worker_makes_one_receive_call_in_20_seconds_for_each_queue(calls, queues, late_seconds, fifo):
    number = len(queues) * (2 if fifo == "true" else 1)
    clock = Turned(number)
    client = FaultyClient(Quiet(clock, late_seconds), calls)
    options = Options.parse(f"sqs://eu-central-1?namespace=app&create=true&fifo={fifo}")
    broker = SqsBroker(options, clock, lambda options: Clients(client, client))
    wait = broker.capabilities.receive_wait_seconds
    assert wait <= 1, "a worker that is told to stop waits so long"

    def idle(seconds):
        end = clock.time + seconds
        while clock.time < end:
            assert broker.receive(queues, limit=10, wait_seconds=wait, hold_seconds=30) == []

    idle(60)
    # The polls grow to their full length: 1, 1, 2, 4, 8 and 16 seconds. More than one queue is looked at before.
    assert calls.counts()["receive_message"] <= 10 * number
    calls.made.clear()
    idle(600)
    made = calls.counts()
    assert set(made) == {"receive_message"}
    # One may have begun before, and one may not have ended.
    assert made["receive_message"] <= (600 / 20 + 1) * number
    assert {parameters["WaitTimeSeconds"] for _, parameters in calls.made} == {20}
    broker.close()
    clock.finish()


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
