"""A record that a new primary does not know to be with a majority yet is not taken for lost.

No server of the tests fails over, so that reads of the majority are made to lack what is there.
"""

import pytest
from pymongo.collection import Collection

from drivetrain.contract import Completion, Group, Member, ServiceUnavailable, State, Transition, ValueWrite
from drivetrain_mongo import bulk, groups


def transition(state, task_id="t"):
    return Transition(task_id=task_id, state=state, at=1.0, run="r" if state is State.STARTED else None)


def completion(index):
    return Completion(member=Member("g", index), payload=b"%d" % index)


@pytest.fixture
def lagging(monkeypatch):
    """Lets the next reads of the majority find nothing, in collections whose name ends like this."""
    left, find = {}, Collection.find

    def lagged(self, *args, **kwargs):
        name = self.name.rpartition("_")[2]
        if self.read_concern.level == "majority" and left.get(name, 0) > 0:
            left[name] -= 1
            return iter(())
        return find(self, *args, **kwargs)

    monkeypatch.setattr(Collection, "find", lagged)
    return left


@pytest.fixture
def brief(monkeypatch):
    for module in (bulk, groups):
        monkeypatch.setattr(module, "PAUSES_SECONDS", (0.001, 0.001))


def test_a_record_that_a_majority_has_in_a_moment_is_read(make, lagging):
    backend = make()
    backend.record([transition(State.PENDING)])
    lagging["records"] = 2
    (record, nothing) = backend.read(["t", "unknown"])
    assert record.state is State.PENDING
    assert nothing is None
    assert lagging["records"] == 0


def test_a_task_is_not_gone_because_a_majority_does_not_have_it_yet(make, lagging):
    backend = make()
    backend.record([transition(State.STARTED)])
    lagging["records"] = 1
    assert backend.wait(["t"], timeout_seconds=0.0) == {}
    assert lagging["records"] == 0


def test_a_group_that_a_majority_has_in_a_moment_is_completed(make, lagging):
    backend = make()
    backend.open_groups([Group(group_id="g", size=2, continuation=b"next")])
    lagging["records"] = 1
    assert backend.complete([completion(0)])[0].done == 1
    lagging["records"] = 1
    assert backend.read_groups(["g"])[0].continuation == b"next"
    assert lagging["records"] == 0


def test_payloads_that_a_majority_has_in_a_moment_are_read(make, lagging):
    backend = make()
    backend.open_groups([Group(group_id="g", size=2)])
    backend.complete([completion(0), completion(1)])
    lagging["records"] = lagging["members"] = 1
    assert backend.read_members("g") == [b"0", b"1"]
    assert lagging == {"records": 0, "members": 0}


def test_a_read_fails_if_a_majority_never_has_the_record(make, lagging, brief):
    backend = make()
    backend.record([transition(State.PENDING)])
    lagging["records"] = 10
    with pytest.raises(ServiceUnavailable, match="does not have the record of 't' yet"):
        backend.read(["t"])


def test_values_are_read_listed_and_written_as_the_primary_has_them(make, lagging):
    backend = make()
    (first,) = backend.write_values([ValueWrite(key="v", value=b"v")])
    lagging["values"] = 3
    assert backend.read_values(["v", "unknown"]) == [first.current, None]
    assert list(backend.list_values("", limit=2).values) == [("v", first.current)]
    (second,) = backend.write_values([ValueWrite(key="v", value=b"w", if_version=first.current.version)])
    assert second.written
    assert lagging["values"] == 3


def test_payloads_that_were_deleted_by_hand_are_none(make, collections, brief):
    """So core knows that they are lost, and ends everything that waits for them."""
    backend = make()
    backend.open_groups([Group(group_id="g", size=3)])
    backend.complete([completion(0), completion(1)])
    collections["members"].delete_one({"_id": {"$regex": "0$"}})
    assert backend.read_members("g") == [None, b"1", None]
