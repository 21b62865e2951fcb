"""An idle worker makes few calls: counted on an SQS that is always empty, by a clock that the test moves."""

import math
import threading

import pytest

from drivetrain_sqs.broker import SqsBroker
from drivetrain_sqs.connection import Clients
from drivetrain_sqs.options import Options
from services.sqs_client import Calls, FaultyClient


@pytest.fixture
def calls():
    return Calls()


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
    assert wait <= 1, "a stopping worker waits this long"

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
