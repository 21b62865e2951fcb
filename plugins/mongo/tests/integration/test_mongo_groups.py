"""Groups: exactly once by identity, whatever is cut off in the middle."""

import random
import threading

import bson
import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from drivetrain.contract import (
    Completion,
    Group,
    Member,
    ServiceUnavailable,
    State,
    TaskRecord,
    Transition,
)
from drivetrain_mongo import deletion, groups
from drivetrain_mongo.codec import changes
from drivetrain_mongo.errors import LARGEST_DOCUMENT_BYTES, LARGEST_VALUE_BYTES


def done(index, payload=b"p", group_id="g", *, failed=False):
    return Completion(member=Member(group_id, index), payload=payload, failed=failed)


def opened(backend, size, *names):
    backend.open_groups([Group(group_id=name, size=size, continuation=b"next") for name in names or ("g",)])


def test_many_groups_are_completed_in_three_round_trips(commands, make):
    backend = make()
    names = [f"g{number}" for number in range(50)]
    opened(backend, 2, *names)
    commands.clear()
    answers = backend.complete([done(index, group_id=name) for name in names for index in range(2)])
    assert commands == ["find", "insert", "update"]
    assert [progress.complete for progress in answers] == [False, True] * 50
    commands.clear()
    assert all(progress.complete for progress in backend.complete([done(1, group_id=name) for name in names]))
    assert commands == ["find"]


def test_one_group_is_completed_in_three_round_trips(commands, make):
    backend = make()
    opened(backend, 1_000)
    commands.clear()
    backend.complete([done(index) for index in range(500)])
    assert commands == ["find", "insert", "findAndModify"]


def test_the_next_completion_repairs_a_crash_between_payload_and_count(make, monkeypatch):
    """The payload that came first stands, and its member counts once."""
    backend = make()
    opened(backend, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Collection, "find_one_and_update", _cut)
        with pytest.raises(ServiceUnavailable):
            backend.complete([done(1, b"first")])
    assert list(backend.read_members("g")) == [None, None]
    (progress,) = backend.complete([done(1, b"second", failed=True)])
    assert (progress.done, progress.failed) == (1, False)
    assert list(backend.read_members("g")) == [None, b"first"]


def _cut(*_args, **_named):
    raise AutoReconnect("connection reset")


def test_a_count_whose_reply_was_lost_counts_once(make, monkeypatch):
    backend, step = make(), Collection.find_one_and_update
    opened(backend, 2)

    def lost(self, *args, **kwargs):
        step(self, *args, **kwargs)
        raise AutoReconnect("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "find_one_and_update", lost)
        with pytest.raises(ServiceUnavailable):
            backend.complete([done(0)])
    assert [progress.done for progress in backend.complete([done(0), done(1)])] == [1, 2]


def test_groups_that_others_change_meanwhile_are_completed_one_by_one(make, monkeypatch):
    backend, other, write = make(), make(), Collection.bulk_write
    opened(backend, 2, "a", "b")

    def late(self, *args, **kwargs):
        monkeypatch.undo()
        other.complete([done(1, group_id="b")])
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Collection, "bulk_write", late)
    answers = backend.complete([done(0, group_id="a"), done(0, group_id="b")])
    assert [(progress.done, progress.complete) for progress in answers] == [(1, False), (2, True)]


def test_a_large_group_counts_each_member_once(make, collections):
    """Several threads complete all members, in batches that overlap; each count is reported, the last one too."""
    size, backends = 2_000, [make() for _ in range(3)]
    opened(backends[0], size)
    counts = [[] for _ in backends]

    def finish(number):
        indexes = random.Random(number).sample(range(size), size)
        for first in range(0, size, 250):
            answers = backends[number].complete([done(index, b"%d" % index) for index in indexes[first : first + 250]])
            counts[number].extend(progress.done for progress in answers)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(len(backends))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in counts)
    assert {count for mine in counts for count in mine} == set(range(1, size + 1))
    assert list(backends[0].read_members("g")) == [b"%d" % index for index in range(size)]
    assert len(bson.encode(collections["records"].find_one({"_id": "g"}))) < size  # bits, not a list


def test_a_batch_from_all_over_a_large_group_is_counted_in_its_order(make):
    """More words of bits than one step sets; and others come between two of the steps."""
    backend, other, step, size = make(), make(), Collection.find_one_and_update, 9_000
    opened(backend, size)
    indexes = random.Random(1).sample(range(size), 300)
    others = sorted(set(range(size)) - set(indexes))[:7]
    calls = []

    def between(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            other.complete([done(index) for index in others])
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collection, "find_one_and_update", between)
        answers = backend.complete([done(index, failed=index == indexes[200]) for index in indexes])
    assert len(calls) > 3
    assert [progress.done for progress in answers] == list(range(8, 308))
    assert [progress.failed for progress in answers] == [False] * 200 + [True] * 100
    again = backend.complete([done(index) for index in indexes])
    assert {(progress.done, progress.failed) for progress in again} == {(307, True)}


def test_a_group_that_is_forgotten_while_it_is_completed_leaves_nothing(make, collections, monkeypatch):
    backend, other, write = make(), make(), Collection.bulk_write
    opened(backend, 2)

    def then_forget(self, operations, **kwargs):
        result = write(self, operations, **kwargs)
        monkeypatch.undo()
        other.forget(["g"])
        payload = operations[0]._doc
        self.insert_one({**payload, "_id": payload["_id"] + "9", "payload": b"late"})  # after they were dropped
        return result

    monkeypatch.setattr(Collection, "bulk_write", then_forget)
    assert backend.complete([done(0)]) == [None]
    assert collections["members"].count_documents({}) == 0


def test_members_without_a_group_are_swept(make, collections, monkeypatch):
    """Those of a group that the server itself has dropped, or whose finisher died as the group was forgotten."""
    monkeypatch.setattr(deletion, "CHUNK", 7)
    backend = make()
    opened(backend, 10, *"abcd")
    backend.complete([done(index, group_id=name) for name in "abcd" for index in range(10)])
    collections["records"].delete_many({"_id": {"$in": ["b", "d"]}})
    opened(backend, 10, "d")  # a new one, which must not take the members of the former one
    assert list(backend.read_members("d")) == [None] * 10
    for _ in range(6):
        backend.sweep()
    assert collections["members"].count_documents({}) == 20
    assert [len(list(filter(None, backend.read_members(name)))) for name in "acd"] == [10, 10, 0]


def test_a_group_and_the_record_of_its_id_may_come_in_any_order(make):
    backend = make()
    opened(backend, 1, "before")
    for name in ("before", "after"):
        backend.record([Transition(task_id=name, state=State.PENDING, at=1.0, downstream=b"d")])
    opened(backend, 1, "after")
    for name in ("before", "after"):
        assert backend.complete([done(0, group_id=name)])[0].complete
        (outcome,) = backend.record([Transition(task_id=name, state=State.SUCCESS, at=2.0)])
        assert outcome.applied
        assert outcome.before.downstream == b"d"
        assert backend.read_groups([name])[0].continuation == b"next"


def test_a_member_completes_before_a_later_transition_ends_the_task_of_its_group(make):
    """In one batch: the last member, then the group's record, whose retention is over at once."""
    backend = make()
    opened(backend, 1)
    member = Transition(task_id="m", state=State.SUCCESS, at=1.0, payload=b"v", member=Member("g", 0))
    own = Transition(task_id="g", state=State.SUCCESS, at=1.0, retention=0.0)
    outcomes = backend.record([member, own])
    assert outcomes[0].group.complete
    assert backend.read_groups(["g"]) == [None]
    opened(backend, 1)
    outcomes = backend.record([own, Transition(task_id="n", state=State.SUCCESS, at=1.0, member=Member("g", 0))])
    assert outcomes[1].group is None


def test_values_of_all_kinds_fit_one_document_at_once():
    """A payload, what waits for it, and the continuation of the group of that id, each as large as may be."""
    largest = b"x" * LARGEST_VALUE_BYTES
    record = TaskRecord(task_id="x" * 1_000, state=State.SUCCESS, payload=largest, downstream=largest)
    group = groups._opening(Group(group_id=record.task_id, size=2**31, continuation=largest), 0.0, recorded=False)
    bits = {"done": {f"b{word}": 2**60 - 1 for word in range(20_000)}}  # over a million members
    document = {**group._doc, **bits, **changes(None, record)}
    assert len(bson.encode(document)) < LARGEST_DOCUMENT_BYTES
