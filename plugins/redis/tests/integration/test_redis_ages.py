"""The age of the oldest message, beyond what the contract suite certifies: by clocks that are set, and of old data."""

import time

import pytest

from drivetrain.contract import DriverContext, Message, QueueSection, SystemClock
from drivetrain_redis import codec, make_broker


class Behind(SystemClock):
    """A sender's clock that is set back, so that its messages were published long ago."""

    seconds = 0.0

    def now(self):
        return time.time() - self.seconds


@pytest.fixture
def clock():
    return Behind()


@pytest.fixture
def sender(url, clock):
    broker = make_broker(url, DriverContext(clock=clock))
    yield broker
    broker.close()


@pytest.fixture
def publish(sender, clock):
    """Publish a message as if that was some seconds ago."""

    def publish(name, ago, **fields):
        clock.seconds = ago
        sender.publish([Message(id=name, queue="q", body=b"x", **fields)])

    return publish


def age(broker):
    """The age in whole hours: each message of a test is hours older than the next."""
    return round(broker.sizes(["q"])["q"].oldest_seconds / 3600)


def take(broker, count):
    taken = {}
    while len(taken) < count:
        some = broker.receive(["q"], limit=count - len(taken), wait_seconds=1.0, hold_seconds=60)
        taken |= {one.message.id: one for one in some}
    return taken


def test_the_oldest_is_found_among_messages_that_came_back_in_any_order(broker, publish):
    for hours in (5, 4, 3, 2, 1):
        publish(str(hours), hours * 3600.0, priority=hours % 2)
    assert age(broker) == 5
    taken = take(broker, 5)
    assert age(broker) == 0
    for name, oldest in (("2", 2), ("4", 4), ("1", 4), ("5", 5), ("3", 5)):
        broker.release([taken[name]])
        assert age(broker) == oldest
    again = take(broker, 5)
    broker.acknowledge([again["5"], again["4"]])
    broker.release([again["1"], again["2"], again["3"]])
    assert age(broker) == 3


def test_a_hold_that_has_ended_counts_before_anybody_receives(broker, publish):
    publish("m", 7200.0)
    broker.receive(["q"], limit=1, wait_seconds=1.0, hold_seconds=0.05)
    end = time.monotonic() + 10
    while age(broker) != 2:
        assert time.monotonic() < end


def test_a_delayed_message_counts_from_when_it_is_due(broker, publish):
    publish("m", 7200.0, eta=time.time() - 3600.0)
    assert age(broker) == 1
    take(broker, 1)
    assert age(broker) == 0


def test_a_replay_begins_a_new_age_and_leaves_the_message_as_it_was(broker, publish):
    publish("plain", 7200.0)
    publish("over", 7200.0, eta=1.0)
    publish("due", 7200.0, eta=time.time() - 3600.0)
    for _ in range(2):
        broker.dead_letter([(one, "why") for one in take(broker, 3).values()])
        assert broker.replay("q") == 3
        assert age(broker) == 0
    found = {one.id: (one.eta, one.body) for one in broker.peek("q", QueueSection.READY, limit=9)}
    assert found["plain"] == (None, b"x")
    assert found["over"] == (1.0, b"x")
    assert found["due"][1] == b"x"


def test_messages_of_an_earlier_version_have_no_age_and_are_received(broker, publish, monkeypatch):
    new = codec.pack_message(Message(id="old", queue="q", body=b"x"), 0.0)
    monkeypatch.setattr("drivetrain_redis.publish.pack_message", lambda message, now: b"\0" + new[1:])
    publish("old", 7200.0)
    monkeypatch.undo()
    publish("new", 3600.0)
    assert age(broker) == 0
    assert set(take(broker, 1)) == {"old"}
    assert age(broker) == 1


def test_a_sender_whose_clock_is_ahead_makes_no_negative_age(broker, publish):
    publish("m", -7200.0)
    assert broker.sizes(["q"])["q"].oldest_seconds == 0
