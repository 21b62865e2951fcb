"""Batches of transitions: their round trips, and what happens when others write between reading and writing."""

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, BulkWriteError

from drivetrain.contract import RunLease, ServiceUnavailable, State, Transition
from drivetrain_mongo import bulk
from drivetrain_mongo.errors import DUPLICATE_KEY


def start(task_id, run="r", attempt=0, lease=3_600.0):
    return Transition(task_id=task_id, state=State.STARTED, run=run, attempt=attempt, lease=lease, at=1.0)


def end(task_id, state=State.SUCCESS, run="r", **fields):
    return Transition(task_id=task_id, state=state, run=run, at=2.0, **fields)


@pytest.fixture
def around_the_write(monkeypatch):
    """Lets something happen before or after the next write of a batch, once."""
    happenings = {"before": [], "after": []}
    write = Collection.bulk_write

    def bulk_write(self, *args, **kwargs):
        before, after = happenings["before"], happenings["after"]
        happenings.update(before=[], after=[])
        for happening in before:
            happening()
        try:
            return write(self, *args, **kwargs)
        finally:
            for happening in after:
                happening()

    monkeypatch.setattr(Collection, "bulk_write", bulk_write)
    return happenings


def test_a_batch_takes_two_round_trips(commands, make):
    backend = make()
    names = [f"t{number}" for number in range(500)]
    backend.ping()
    backend.record([start("first")])
    commands.clear()
    assert all(outcome.applied for outcome in backend.record([start(name) for name in names]))
    assert commands == ["find", "insert"]
    commands.clear()
    assert all(outcome.applied for outcome in backend.record([end(name, payload=b"v") for name in names]))
    assert commands == ["find", "update"]
    commands.clear()
    assert not any(outcome.applied for outcome in backend.record([end(name) for name in names]))
    assert commands == ["find"]


def test_transitions_of_records_that_others_changed_are_decided_again(make, around_the_write):
    """Another process cancels one of them between reading and writing: it is refused, the others are granted."""
    backend, other = make(), make()
    backend.record([start("a"), start("b"), start("c")])
    around_the_write["before"].append(lambda: other.record([end("b", State.CANCELLED, run=None)]))
    outcomes = backend.record([end("a", payload=b"1"), end("b", payload=b"2"), end("c", payload=b"3")])
    assert [outcome.applied for outcome in outcomes] == [True, False, True]
    assert outcomes[1].before.state is State.CANCELLED
    assert [found.payload for found in backend.read(["a", "b", "c"])] == [b"1", None, b"3"]


def test_of_two_runs_that_start_a_task_the_second_gets_the_record_of_the_first(make, around_the_write):
    backend, other = make(), make()
    around_the_write["before"].append(lambda: other.record([start("a", run="other")]))
    outcomes = backend.record([start("a"), start("b")])
    assert [outcome.applied for outcome in outcomes] == [False, True]
    assert outcomes[0].before.run == "other"


def test_a_granted_transition_is_known_although_others_have_written_since(make, around_the_write):
    """Of two writes one fails. The other succeeds, and another process overwrites it before this one checks."""
    backend, other = make(), make()
    backend.record([start("a"), start("b")])
    around_the_write["before"].append(lambda: other.record([end("b", State.CANCELLED, run=None)]))
    around_the_write["after"].append(lambda: other.record([start("a", run="next", attempt=1)]))
    outcomes = backend.record([end("a", State.RETRY, payload=b"1"), end("b")])
    assert [outcome.applied for outcome in outcomes] == [True, False]
    (found,) = other.read(["a"])
    assert (found.state, found.attempt, found.payload) == (State.STARTED, 1, b"1")


def test_an_unknowable_outcome_is_an_error(make, around_the_write):
    backend, other = make(), make()
    backend.record([start("a"), start("b")])
    around_the_write["before"].append(lambda: other.record([end("b", State.CANCELLED, run=None)]))
    around_the_write["after"].extend(
        lambda attempt=attempt: other.record([start("a", run=f"r{attempt}", attempt=attempt)])
        for attempt in range(1, 11)
    )
    with pytest.raises(ServiceUnavailable, match="too often"):
        backend.record([end("a", State.RETRY), end("b")])
    assert not backend.record([end("a", State.RETRY)])[0].applied  # a repeated call is answered from the record


def test_a_lease_that_is_renewed_meanwhile_counts(make, around_the_write):
    """Another run wants to take over a task whose lease has ended, and is just being renewed."""
    backend, other = make(), make()
    backend.record([start("a", lease=0.0)])
    around_the_write["before"].append(lambda: other.renew([RunLease(task_id="a", run="r", seconds=3_600.0)]))
    (outcome,) = backend.record([start("a", run="thief")])
    assert not outcome.applied
    assert backend.read(["a"])[0].run == "r"


def test_a_write_that_always_conflicts_ends_with_an_error(make, around_the_write, monkeypatch):
    monkeypatch.setattr(bulk, "_CONFLICTS", 3)
    backend, other = make(), make()
    backend.record([start("a")])
    attempts = iter(range(1, 100))

    def again():
        attempt = next(attempts)
        other.record([start("a", run=f"o{attempt}", attempt=attempt)])
        around_the_write["before"].append(again)

    around_the_write["before"].append(again)
    with pytest.raises(ServiceUnavailable, match="in a row"):
        backend.record([start("a", run="mine", attempt=1_000)])
    around_the_write["before"].clear()
    assert backend.record([start("a", run="mine", attempt=1_000)])[0].applied


def test_a_repeated_batch_is_answered_after_its_reply_was_lost(make, monkeypatch):
    backend, write = make(), Collection.bulk_write
    backend.record([start("a")])

    def lost(self, *args, **kwargs):
        write(self, *args, **kwargs)
        raise AutoReconnect("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "bulk_write", lost)
        with pytest.raises(ServiceUnavailable):
            backend.record([end("a", payload=b"v")])
    (outcome,) = backend.record([end("a", payload=b"v")])
    assert (outcome.applied, outcome.before.state, outcome.before.payload) == (False, State.SUCCESS, b"v")


def test_an_expired_record_is_replaced_within_a_batch(make):
    backend = make()
    batch = [end("a", run=None, retention=0.0, payload=b"old"), start("a", run="new"), end("a", run="new")]
    outcomes = backend.record(batch)
    assert [outcome.applied for outcome in outcomes] == [True, True, True]
    assert [outcome.before and outcome.before.state for outcome in outcomes] == [None, None, State.STARTED]
    assert backend.read(["a"])[0].payload is None


def test_a_long_batch_is_written_in_several_requests(commands, make, around_the_write, monkeypatch):
    monkeypatch.setattr(bulk, "_WRITES", 20)
    backend, rival = make(), make()
    around_the_write["before"].append(lambda: rival.record([start("t3", run="q"), start("t45", run="q")]))
    outcomes = backend.record([start(f"t{number}") for number in range(50)])
    assert commands.count("insert") == 1 + 3
    assert [number for number, outcome in enumerate(outcomes) if not outcome.applied] == [3, 45]
    ended = backend.record([end(f"t{number}") for number in range(50)])
    assert [number for number, outcome in enumerate(ended) if not outcome.applied] == [3, 45]


def test_neither_of_two_concurrent_stores_of_a_body_fails(make, monkeypatch):
    """MongoDB may tell one of two upserts that the other has inserted what it was about to insert."""
    backend, write = make(), Collection.bulk_write

    def raced(self, operations, **kwargs):
        monkeypatch.undo()
        _, *others = operations
        write(self, others, **kwargs)
        failure = {"index": 0, "code": DUPLICATE_KEY, "errmsg": "E11000 duplicate key"}
        raise BulkWriteError({"writeErrors": [failure], "writeConcernErrors": [], "nMatched": 0, "nInserted": 0})

    monkeypatch.setattr(Collection, "bulk_write", raced)
    backend.store_bodies({"one": b"1", "two": b"2"})
    assert backend.load_bodies(["one", "two"]) == [b"1", b"2"]
