"""Lists of tasks: which documents the index has, and pages of bounded work."""

import pytest

from drivetrain.contract import ConfigurationError, DriverContext, State, TaskReach, Transition
from drivetrain_mongo import make_backend, records

FAILED = frozenset({State.FAILURE, State.CANCELLED, State.EXPIRED})


def to(task_id, state, **fields):
    return Transition(task_id=task_id, state=state, at=1.0, **fields)


def succeeds(task_id, attempt=0):
    started = to(task_id, State.STARTED, run="s", lease=60.0, attempt=attempt)
    return [started, to(task_id, State.SUCCESS, run="s", attempt=attempt)]


def ids(backend, states=FAILED, limit=100):
    page = backend.list_tasks(states, limit=limit)
    found = [record.task_id for record in page.records]
    while page.cursor is not None:
        page = backend.list_tasks(states, limit=limit, cursor=page.cursor)
        found += [record.task_id for record in page.records]
    return found


@pytest.fixture
def listed(collections):
    """The ids in the index."""
    return lambda: {found["_id"] for found in collections["records"].find({"listed": {"$gt": ""}}, {"_id": 1})}


def test_only_tasks_that_failed_or_are_tried_again_are_in_the_index(make, listed):
    backend = make()
    backend.record([*succeeds("a"), to("b", State.PENDING), to("c", State.CANCELLED)])
    backend.record([to("d", State.STARTED, run="r", lease=60.0), to("d", State.RETRY, run="r")])
    assert listed() == {"c", "d"}
    backend.record(succeeds("d", attempt=1))
    assert listed() == {"c"}
    backend.forget(["c"])
    assert listed() == set()


def test_those_of_one_batch_have_an_order(make):
    backend = make()
    backend.record([to(f"t{number}", State.FAILURE) for number in range(30)])
    assert ids(backend, limit=7) == [f"t{number}" for number in reversed(range(30))]


def test_a_page_passes_a_limited_number_of_documents(make, monkeypatch):
    monkeypatch.setattr(records, "_PASSED", 5)
    backend = make()
    backend.record([to("first", State.FAILURE), *[to(f"c{number}", State.CANCELLED) for number in range(12)]])
    backend.record([to("run", State.STARTED, run="r"), *[to(f"p{number}", State.PENDING) for number in range(12)]])
    for state, name in ((State.FAILURE, "first"), (State.STARTED, "run")):
        page = backend.list_tasks({state}, limit=1)
        assert (list(page.records), page.cursor is None) == ([], False)
        assert ids(backend, {state}) == [name]


def test_an_option_indexes_those_that_succeed_too(make):
    backend = make(index="all")
    assert backend.capabilities.lists_tasks is TaskReach.ALL
    backend.record([*succeeds("a"), to("b", State.FAILURE)])
    backend.record(succeeds("c"))
    assert ids(backend, {State.SUCCESS, State.FAILURE}) == ["c", "b", "a"]
    assert ids(make(), {State.SUCCESS}) == []


def test_other_values_of_the_option_are_refused():
    with pytest.raises(ConfigurationError, match="index is 'some'; use failed or all"):
        make_backend("mongodb://host/work?index=some", DriverContext())
