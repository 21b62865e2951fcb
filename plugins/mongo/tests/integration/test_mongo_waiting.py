"""Waiting by a change stream; polling, and the choice between the two."""

import threading

import pytest
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from drivetrain.contract import ServiceUnavailable, State, Transition, ValueWrite
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_mongo import waiting as waiting_module

SECONDS = 30.0


def start(task_id="t"):
    return Transition(task_id=task_id, state=State.STARTED, run="r", at=1.0)


def end(task_id="t", **fields):
    return Transition(task_id=task_id, state=State.SUCCESS, run="r", at=2.0, **fields)


class Waiting:
    """A thread that waits for a task."""

    def __init__(self, backend, *task_ids):
        self.ended = None
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(backend, task_ids))
        self._thread.start()

    def _run(self, backend, task_ids):
        try:
            self.ended = list(backend.wait(task_ids, timeout_seconds=SECONDS))
        except Exception as error:
            self.error = error

    def result(self):
        self._thread.join(SECONDS / 2)
        assert not self._thread.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.ended


@pytest.fixture
def streams(mongo, monkeypatch):
    """Streams that have been opened, for tests that wait until there is one.

    A server that has streams and is not a replica set is nx-27017, which does not know the filter: it lets nothing
    through. Without it more comes than is asked for, and that must do no harm.
    """
    if not mongo.replicates:
        monkeypatch.setattr(waiting_module, "_CHANGES", ())
    opened, watch = threading.Semaphore(0), Collection.watch

    def counted(self, *args, **kwargs):
        stream = watch(self, *args, **kwargs)
        opened.release()
        return stream

    monkeypatch.setattr(Collection, "watch", counted)
    return opened


def test_the_stream_announces_an_end(make, streams):
    waiter, worker = make(waiting="stream"), make()
    worker.record([start(), start("other")])
    waiting = Waiting(waiter, "t", "u", "other")
    assert waiting.result() == ["u"]  # nobody knows it
    waiting = Waiting(waiter, "t")
    assert streams.acquire(timeout=SECONDS)
    worker.record([end("other")])
    worker.record([end(payload=b"v", retention=60.0)])
    assert waiting.result() == ["t"]


def test_the_stream_announces_a_forgotten_task(make, streams):
    waiter, worker = make(waiting="stream"), make()
    worker.record([start()])
    waiting = Waiting(waiter, "t")
    assert streams.acquire(timeout=SECONDS)
    worker.forget(["t"])
    assert waiting.result() == ["t"]


def test_an_end_before_the_stream_is_open_is_not_missed(make, streams, monkeypatch):
    """It comes after the waiting caller has read, and before the stream is open."""
    waiter, worker, watch = make(waiting="stream"), make(), Collection.watch
    worker.record([start()])

    def late(self, *args, **kwargs):
        worker.record([end()])
        return watch(self, *args, **kwargs)

    monkeypatch.setattr(Collection, "watch", late)
    assert Waiting(waiter, "t").result() == ["t"]


def test_an_end_that_no_stream_announces_is_found_by_reading_again(make, monkeypatch):
    """It was announced in the instant of a failover, before a read showed it."""
    monkeypatch.setattr(waiting_module, "_REREAD_SECONDS", 0.05)
    monkeypatch.setattr(waiting_module.Watcher, "_hint_change", lambda *_: None)
    monkeypatch.setattr(waiting_module.Watcher, "_hint_all", lambda *_: None)
    waiter, worker = make(waiting="stream"), make()
    worker.record([start()])
    waiting = Waiting(waiter, "t")
    worker.record([end()])
    assert waiting.result() == ["t"]


def test_one_stream_serves_all_waiting_callers(make, streams):
    waiter, worker = make(waiting="stream"), make()
    names = [f"t{number}" for number in range(5)]
    worker.record([start(name) for name in names])
    waiting = [Waiting(waiter, name) for name in names]
    assert streams.acquire(timeout=SECONDS)
    worker.record([end(name) for name in names])
    assert [each.result() for each in waiting] == [[name] for name in names]
    assert not streams.acquire(blocking=False)


def test_closing_wakes_a_waiting_caller(make, streams):
    waiter, worker = make(waiting="stream"), make()
    worker.record([start()])
    waiting = Waiting(waiter, "t")
    assert streams.acquire(timeout=SECONDS)
    waiter.close()
    assert waiting.result() == []
    worker.record([end()])
    assert waiter.wait(["t"], timeout_seconds=SECONDS) == {"t": None}  # it may be used again


def test_a_waiting_caller_gets_an_error_when_the_server_stops(make, stoppable, streams):
    if not stoppable.server.stoppable:
        pytest.skip("the server is not ours to stop")
    waiter = make(waiting="stream")
    waiter.record([start()])
    waiting = Waiting(waiter, "t")
    assert streams.acquire(timeout=SECONDS)
    stoppable.stop()
    try:
        with pytest.raises(ServiceUnavailable):
            waiting.result()
    finally:
        stoppable.start()


def test_the_driver_polls_where_the_server_refuses_streams(make, monkeypatch, caplog):
    """The user may lack the privilege, or the server may not have them."""

    asked = threading.Event()

    def refused(*_args, **_named):
        asked.set()
        raise OperationFailure("not authorized", 13, {"errmsg": "not authorized", "code": 13})

    monkeypatch.setattr(Collection, "watch", refused)
    waiter, worker = make(waiting="stream"), make()
    worker.record([start()])
    waiting = Waiting(waiter, "t")
    assert asked.wait(SECONDS)
    worker.record([end()])
    assert waiting.result() == ["t"]
    assert "polls instead" in caplog.text


def test_the_service_is_asked_once_whether_it_has_streams(make, mongo, monkeypatch):
    opened, watch = [], Collection.watch
    monkeypatch.setattr(Collection, "watch", lambda *args, **named: opened.append(1) or watch(*args, **named))
    waiter, worker = make(), make()
    for name in ("a", "b"):
        worker.record([start(name)])
        waiting = Waiting(waiter, name)
        worker.record([end(name)])
        assert waiting.result() == [name]
    assert bool(opened) <= mongo.replicates
    assert not make(waiting="poll")._connection.notifies() or mongo.replicates


def test_polling_asks_once_for_all_and_less_and_less_often(commands, make):
    waiter, worker = make(waiting="poll"), make()
    names = [f"t{number}" for number in range(5)]
    worker.record([start(name) for name in names])
    waiter.ping()
    commands.clear()
    assert waiter.wait(names, timeout_seconds=1.0) == {}
    assert 3 < commands.count("find") < 30


def test_the_filter_lets_only_ends_through():
    """By the rules of MongoDB's documents on change events; only a replica set applies it."""
    match, project = waiting_module._CHANGES
    assert set(project["$project"]) == {"operationType", "documentKey"}
    assert {condition["operationType"] for condition in match["$match"]["$or"][1:]} == {"insert", "update"}


# Values


def put(backend, *keys):
    outcomes = backend.write_values([ValueWrite(key=key, value=b"v") for key in keys])
    return {key: outcome.current.version for key, outcome in zip(keys, outcomes, strict=True)}


def wait_in_background(backend, seen, prefix=None):
    return Background(backend.wait_values, seen, prefix=prefix, timeout_seconds=SECONDS)


def test_a_stream_announces_changes_of_values(make, streams):
    waiter, writer = make(waiting="stream"), make()
    seen = put(writer, "k", "p/gone")
    waiting = wait_in_background(waiter, seen, "p/")
    assert streams.acquire(timeout=SECONDS)
    writer.write_values([ValueWrite(key="p/gone", value=None)])
    assert waiting.result() == ["p/gone"]
    waiting = wait_in_background(waiter, {"k": seen["k"]}, "p/")
    put(writer, "p/new")
    assert waiting.result() == ["p/new"]
    waiting = wait_in_background(waiter, seen)
    assert waiting.result() == ["p/gone"]
    waiting = wait_in_background(waiter, {"k": seen["k"]})
    put(writer, "k")
    assert waiting.result() == ["k"]
    assert not streams.acquire(blocking=False), "one stream serves all waits"


def test_values_and_tasks_have_each_a_stream(make, streams):
    waiter, other = make(waiting="stream"), make()
    other.record([start()])
    task, value = Waiting(waiter, "t"), wait_in_background(waiter, {"k": 0})
    assert streams.acquire(timeout=SECONDS)
    assert streams.acquire(timeout=SECONDS)
    put(other, "k")
    assert value.result() == ["k"]
    other.record([end()])
    assert task.result() == ["t"]


def test_polling_finds_changes_of_values_for_all_callers(make):
    waiter, writer = make(waiting="poll"), make()
    seen = put(writer, "k", "p/gone")
    one = wait_in_background(waiter, {"k": seen["k"]})
    other = wait_in_background(waiter, {"p/gone": seen["p/gone"]}, "p/")
    writer.write_values([ValueWrite(key="p/gone", value=None)])
    assert other.result() == ["p/gone"]
    put(writer, "k")
    assert one.result() == ["k"]


def test_a_write_of_the_same_object_wakes_a_wait_without_a_stream(make, monkeypatch):
    monkeypatch.setattr(waiting_module.Watcher, "_run", lambda _: None)
    backend = make(waiting="poll")
    waiting = wait_in_background(backend, {"k": 0})
    while not waiting.ended(0.01):
        put(backend, "k")
    assert waiting.result() == ["k"]
