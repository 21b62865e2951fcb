"""Recording and publishing in one transaction, where broker and backend are one file."""

import sqlite3

import pytest

from drivetrain.contract import Message, RecordingBroker, State, TooLarge, Transition


def send(task_id, *, downstream=None):
    wish = Transition(task_id=task_id, state=State.PENDING, at=1.0, task="t", downstream=downstream)
    return wish, Message(id=task_id, queue="q", body=task_id.encode())


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def test_broker_and_backend_of_one_file_have_one_store(make):
    broker, backend = make("broker"), make("backend")
    assert isinstance(broker, RecordingBroker)
    assert broker.capabilities.store == backend.capabilities.store is not None


def test_what_is_granted_is_recorded_and_published_and_nothing_else(make, receive):
    broker, backend = make("broker"), make("backend")
    backend.record([Transition(task_id="begun", state=State.STARTED, at=1.0, run="r", lease=60.0)])
    granted = broker.record_and_publish([send("one", downstream=b"next"), send("begun"), send("two")])
    assert list(granted) == [True, False, True]
    assert ids(receive(broker, limit=10)) == ["one", "two"]
    one, begun = backend.read(["one", "begun"])
    assert (one.state, one.downstream, begun.state) == (State.PENDING, b"next", State.STARTED)


def test_both_or_neither(make, receive, monkeypatch):
    broker, backend = make("broker"), make("backend")

    def fail(*_):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(broker, "_add", fail)
        with pytest.raises(Exception, match="disk I/O error"):
            broker.record_and_publish([send("one")])
    assert (list(backend.read(["one"])), list(receive(broker))) == ([None], [])


def test_what_is_too_large_changes_nothing(make, receive, monkeypatch):
    monkeypatch.setattr("drivetrain.drivers.sqlite.broker.LARGEST_VALUE_BYTES", 20)
    broker, backend = make("broker"), make("backend")
    with pytest.raises(TooLarge):
        broker.record_and_publish([send("one"), send("large", downstream=b"x" * 21)])
    assert (list(backend.read(["one"])), list(receive(broker))) == ([None], [])


def test_an_empty_batch_does_nothing(make):
    assert list(make("broker").record_and_publish([])) == []
