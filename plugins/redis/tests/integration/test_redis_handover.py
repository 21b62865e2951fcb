"""A message that is sent alone is handed to a worker that waits, which saves it the asking. Nothing is lost by that."""

import os
import threading
import time
from contextlib import suppress

import pytest

from drivetrain.contract import DriverContext, Message, ServiceUnavailable, State, Transition
from drivetrain_redis import make_broker
from drivetrain_redis.connection import ServerConnection
from drivetrain_redis.keys import Keys
from drivetrain_redis.receive import ReceiveCall
from drivetrain_redis.waiting import Waiting
from support.waiting import until

#: So long that what is held by nobody who knows of it never comes back in a test.
HOLD = 3600.0


def send(broker, name, queue="q", **fields):
    wish = Transition(task_id=name, state=State.PENDING, at=0.0)
    assert broker.record_and_publish([(wish, Message(id=name, queue=queue, body=b"body", **fields))]) == [True]


class Receiving(threading.Thread):
    """A receive in another thread."""

    def __init__(self, broker, queues=("q",), limit=9, hold_seconds=HOLD):
        super().__init__(daemon=True)
        self._call = lambda: broker.receive(queues, limit=limit, wait_seconds=30, hold_seconds=hold_seconds)
        self.start()

    def run(self):
        self._taken = self._call()

    def taken(self):
        self.join(60)
        assert not self.is_alive(), "it has not returned"
        return self._taken


def ids(deliveries):
    return [one.message.id for one in deliveries]


def now(broker, limit=9):
    return broker.receive(["q"], limit=limit, wait_seconds=0, hold_seconds=HOLD)


@pytest.fixture
def other(url):
    broker = make_broker(url, DriverContext())
    yield broker
    broker.close()


@pytest.fixture
def waits(client, prefix):
    def wait(count=1):
        deadline = time.monotonic() + 60
        while client.zcard(Keys(prefix).queue("q") + b":waiting") != count:
            assert time.monotonic() < deadline, "nobody waits"

    return wait


@pytest.fixture
def keys(client, prefix):
    return lambda: {key[len(Keys(prefix).queue("q")) :] for key in client.keys(f"{prefix}:{{q:q}}*")}


@pytest.fixture
def deaf(monkeypatch):
    """Until the returned event is set, no waiting call gets a notification."""
    hears = threading.Event()
    original = Waiting._sleep

    def sleep(self, bell, seconds):
        heard = original(self, bell, seconds)
        return heard if hears.is_set() else []

    monkeypatch.setattr(Waiting, "_sleep", sleep)
    return hears


def test_who_waits_need_not_ask(broker, other, waits, keys, monkeypatch):
    call = Receiving(broker)
    waits()
    asked = []
    original = ServerConnection.send
    monkeypatch.setattr(ServerConnection, "send", lambda self, calls: (asked.append(calls), original(self, calls)))
    send(other, "m", priority=3)
    (delivery,) = call.taken()
    assert len(asked) == 1, "to send it"
    assert (delivery.message.id, delivery.message.body, delivery.message.priority) == ("m", b"body", 3)
    assert (delivery.delivery_count, delivery.redelivered) == (1, False)
    assert other.sizes(["q"])["q"].in_flight == 1
    assert now(broker) == []
    broker.acknowledge([delivery])
    assert keys() == {b":sequence"}


def test_it_is_held_and_wakes_a_sleeping_receive_when_its_hold_ends(url, broker, other, waits):
    sleeper = Receiving(other)
    waits(1)
    forgetful = Receiving(broker, hold_seconds=0.3)
    waits(2)
    sender = make_broker(url, DriverContext())
    send(sender, "m")
    sender.close()
    assert ids(forgetful.taken()) == ["m"], "who began to wait last is warm"
    (again,) = sleeper.taken()
    assert (again.message.id, again.delivery_count, again.redelivered) == ("m", 2, True)


def test_a_missed_notification_is_found_by_the_next_read(broker, other, waits, keys, deaf):
    call = Receiving(broker)
    waits()
    send(other, "m")
    assert ids(call.taken()) == ["m"]
    broker.acknowledge(call.taken())
    assert keys() == {b":sequence"}


def test_a_message_missed_by_a_failed_receive_is_found_by_the_next_one(broker, other, waits, deaf, monkeypatch):
    looks = []

    def take(original):
        def failing(look, pause, channel):
            looks.append(channel)
            if len(looks) == 2:
                raise ServiceUnavailable("just now")
            return original(look, pause, channel)

        return failing

    monkeypatch.setattr(ReceiveCall, "take", take(ReceiveCall.take))
    failed = []

    def receive():
        try:
            broker.receive(["q"], limit=1, wait_seconds=30, hold_seconds=HOLD)
        except ServiceUnavailable as error:
            failed.append(error)

    call = threading.Thread(target=receive, daemon=True)
    call.start()
    waits()
    send(other, "m")
    call.join(60)
    assert failed
    deaf.set()
    assert ids(now(broker)) == ["m"]
    assert now(broker) == []


def test_it_is_received_once_although_its_notification_is_late(broker, other, waits, deaf):
    call = Receiving(broker)
    waits()
    send(other, "m")
    assert ids(call.taken()) == ["m"], "by asking"
    deaf.set()
    again = Receiving(broker)  # with the same bell, where it still stands
    waits()
    send(other, "n")
    assert ids(again.taken()) == ["n"]


def test_no_more_is_handed_over_than_was_asked_for(broker, other, client, prefix, waits):
    call = Receiving(broker, queues=["q", "r"], limit=1)
    waits()
    send(other, "1", "q")
    send(other, "2", "r")
    assert len(call.taken()) == 1
    rest = broker.receive(["q", "r"], limit=9, wait_seconds=0, hold_seconds=HOLD)
    assert sorted(ids([*call.taken(), *rest])) == ["1", "2"]


def test_what_lies_ready_goes_first(broker, other, waits, client, prefix):
    call = Receiving(broker, limit=1)
    waits()
    base = Keys(prefix).queue("q")
    waiter = client.zrange(base + b":waiting", 0, -1, withscores=True)
    other.publish([Message(id="first", queue="q", body=b"")])
    assert ids(call.taken()) == ["first"]
    other.publish([Message(id="second", queue="q", body=b"")])
    client.zadd(base + b":waiting", dict(waiter))  # as if it had not been woken yet
    send(other, "third")
    assert ids(now(broker)) == ["second", "third"]


def test_large_messages_are_asked_for(broker, other, waits):
    call = Receiving(broker)
    waits()
    wish = Transition(task_id="m", state=State.PENDING, at=0.0)
    other.record_and_publish([(wish, Message(id="m", queue="q", body=bytes(100_000)))])
    (delivery,) = call.taken()
    assert len(delivery.message.body) == 100_000


def test_who_has_died_is_handed_nothing(broker, other, client, prefix, waits):
    client.zadd(Keys(prefix).queue("q") + b":waiting", {f"{prefix}:bell:gone 7 3600000000": 9e15})
    call = Receiving(broker)
    waits(2)
    send(other, "m")
    assert ids(call.taken()) == ["m"]


def test_closing_loses_nothing_that_was_handed_over(broker, other, waits, monkeypatch):
    reached, goes_on = threading.Event(), threading.Event()
    original = Waiting._sleep

    def sleep(self, bell, seconds):
        heard = original(self, bell, seconds)
        reached.set()
        assert goes_on.wait(60)
        return heard

    monkeypatch.setattr(Waiting, "_sleep", sleep)
    call = Receiving(broker)
    waits()
    send(other, "m")
    assert reached.wait(60)
    broker.close()
    goes_on.set()
    assert ids(call.taken()) == ["m"]


def test_a_forked_child_takes_nothing_that_its_parent_was_handed(broker, other, waits):
    call = Receiving(broker)
    waits()
    send(other, "m")
    assert ids(call.taken()) == ["m"]
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os._exit(len(now(broker)))
        os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_short_waits_that_race_with_senders_lose_nothing(broker, other):
    """Each message is received, once, though none would come back: they are held for an hour."""
    count = 1000
    taken = []

    def sending():
        for number in range(count):
            send(other, str(number))
            if number % 7 == 0:  # now and then all has been taken, and somebody waits
                until(lambda sent=number + 1: len(taken) >= sent, "all that was sent is received")

    thread = threading.Thread(target=sending, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while len(taken) < count and time.monotonic() < deadline:
        taken += broker.receive(["q"], limit=9, wait_seconds=0.0015, hold_seconds=HOLD)
    thread.join(60)
    assert sorted(ids(taken), key=int) == [str(number) for number in range(count)]
    broker.acknowledge(taken)
    assert other.sizes(["q"])["q"].in_flight == 0
