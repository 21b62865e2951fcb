"""The index of tasks: what is in it, what leaves it, and pages of bounded work."""

import time

import pytest

from drivetrain.contract import ConfigurationError, DriverContext, State, TaskReach, Transition
from drivetrain_redis import admin, make_backend
from drivetrain_redis.keys import Keys

FAILED = frozenset({State.FAILURE, State.CANCELLED, State.EXPIRED})


def to(task_id, state, **fields):
    return Transition(task_id=task_id, state=state, at=1.0, **fields)


def end(task_id, state=State.FAILURE, **fields):
    return to(task_id, state, **fields)


def tried_again(task_id):
    return [to(task_id, State.STARTED, run="r", lease=60.0), to(task_id, State.RETRY, run="r")]


def succeeds(task_id, attempt=0):
    started = to(task_id, State.STARTED, run="s", lease=60.0, attempt=attempt)
    return [started, to(task_id, State.SUCCESS, run="s", attempt=attempt, retention=60.0)]


def ids(backend, states=FAILED, limit=100):
    page = backend.list_tasks(states, limit=limit)
    found = [record.task_id for record in page.records]
    while page.cursor is not None:
        page = backend.list_tasks(states, limit=limit, cursor=page.cursor)
        found += [record.task_id for record in page.records]
    return found


@pytest.fixture
def index(client, prefix):
    """Reads the ids in the index, and those that have an end."""
    key = Keys(prefix).index
    return lambda: tuple({member.decode() for member in client.zrange(one, 0, -1)} for one in (key, key + b":ends"))


def test_a_task_that_succeeds_is_never_in_it(backend, index):
    backend.record([*succeeds("a"), to("b", State.PENDING), *succeeds("b"), to("c", State.PENDING)])
    assert index() == (set(), set())


def test_a_task_leaves_it_when_a_later_attempt_succeeds(backend, index):
    backend.record([*tried_again("t"), *tried_again("u")])
    assert index() == ({"t", "u"}, set())
    backend.record(succeeds("t", attempt=1))
    assert index() == ({"u"}, set())


def test_nothing_stays_behind(backend, index):
    names = [f"t{number}" for number in range(10)]
    backend.record([end(name, retention=60.0) for name in names])
    assert index() == ({*names}, {*names})
    backend.forget(names[:5])
    backend.shorten_retention(names[5:], retention_seconds=0.0)
    backend.record([end("at once", retention=0.0), *tried_again("u"), end("u", retention=0.0)])
    assert index() == (set(), set())


def test_a_sweep_drops_what_redis_has_expired(backend, index):
    backend.record([end("soon", retention=0.05), end("later", retention=60.0), end("never")])
    backend.record([end("shortened", retention=60.0)])
    backend.shorten_retention(["shortened"], retention_seconds=0.05)
    deadline = time.monotonic() + 10
    while index()[0] != {"later", "never"}:
        assert time.monotonic() < deadline
        backend.sweep()
    assert index()[1] == {"later"}


def test_a_list_drops_what_redis_has_expired(backend, index):
    backend.record([end("soon", retention=0.02), end("never")])
    deadline = time.monotonic() + 10
    while ids(backend) != ["never"]:
        assert time.monotonic() < deadline
    assert index() == ({"never"}, set())


def test_an_earlier_record_of_the_id_does_not_end_a_later_one(backend, index, client, prefix):
    backend.record([end("t", retention=0.02)])
    deadline = time.monotonic() + 10
    while client.exists(Keys(prefix).task("t")):
        assert time.monotonic() < deadline
    backend.record([to("t", State.PENDING)])
    backend.sweep()
    assert ids(backend) == []
    backend.record([end("t", retention=60.0)])
    backend.sweep()
    assert ids(backend) == ["t"]
    assert index() == ({"t"}, {"t"})


def test_tasks_of_one_batch_have_an_order(backend):
    backend.record([end(f"t{number}") for number in range(50)])
    assert ids(backend, limit=7) == [f"t{number}" for number in reversed(range(50))]


def test_a_page_passes_a_limited_number_of_ids(backend, monkeypatch):
    monkeypatch.setattr(admin, "_PASSED", 5)
    backend.record([end(f"c{number}", State.CANCELLED) for number in range(12)])
    backend.record([end("first"), *[end(f"d{number}", State.CANCELLED) for number in range(12)]])
    page = backend.list_tasks({State.FAILURE}, limit=10)
    assert (list(page.records), page.cursor is None) == ([], False)
    assert ids(backend, {State.FAILURE}) == ["first"]


def test_without_an_index_nothing_fails(backend, client, prefix):
    backend.record([end("t")])
    client.delete(Keys(prefix).index)
    assert ids(backend) == []
    backend.forget(["t"])


def test_an_option_indexes_those_that_succeed_too(url, backend):
    everything = make_backend(f"{url}&index=all", DriverContext())
    assert (backend.capabilities.lists_tasks, everything.capabilities.lists_tasks) == (TaskReach.FAILED, TaskReach.ALL)
    everything.record([*succeeds("a"), end("b"), *succeeds("c")])
    backend.record(succeeds("by a backend without the option"))
    assert ids(everything, {State.SUCCESS}) == ["c", "a"]
    assert ids(everything, {State.SUCCESS, State.FAILURE}) == ["c", "b", "a"]
    assert ids(backend, {State.SUCCESS, State.FAILURE}) == ["b"]
    everything.forget(["a", "b", "c"])
    assert ids(everything, {State.SUCCESS}) == []
    everything.close()


def test_other_values_of_the_option_are_refused(url):
    with pytest.raises(ConfigurationError, match="index is 'some'; use failed or all"):
        make_backend(f"{url}&index=some", DriverContext())


def test_a_cluster_lists_everything_by_a_scan(redis_cluster, prefix):
    backend = make_backend(f"{redis_cluster.url}?durability=none&namespace={prefix}", DriverContext())
    assert (backend.capabilities.lists_tasks, backend.capabilities.lists_newest_first) == (TaskReach.ALL, False)
    backend.record([*succeeds("a"), end("b"), to("c", State.PENDING)])
    assert ids(backend, {State.SUCCESS}) == ["a"]
    assert sorted(ids(backend, frozenset(State), limit=2)) == ["a", "b", "c"]
    backend.close()
