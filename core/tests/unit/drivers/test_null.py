"""``null://``: grants everything, knows nothing, and refuses what would be lost."""

import pytest

from drivetrain.contract import (
    Backend,
    Completion,
    ConfigurationError,
    DriverContext,
    Group,
    Member,
    NotSupported,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    Transition,
    ValuePage,
    ValueWrite,
)
from drivetrain.drivers import null


@pytest.fixture
def backend():
    return null.make_backend("null://", DriverContext())


def test_it_is_a_backend_that_stores_nothing(backend):
    assert isinstance(backend, Backend)
    assert not backend.capabilities.stores
    assert not backend.capabilities.notifies
    backend.ping()


def test_every_transition_is_granted_and_forgotten(backend):
    wish = Transition(task_id="t", state=State.SUCCESS, at=1.0, payload=b"v", member=Member("g", 0))
    assert list(backend.record([wish, wish])) == [Outcome(applied=True, before=None)] * 2
    assert list(backend.read(["t", "u"])) == [None, None]
    assert backend.list_tasks(frozenset(State), limit=5) == TaskPage()


def test_a_run_goes_on(backend):
    leases = [RunLease(task_id="t", run="r", seconds=1)]
    assert list(backend.renew(leases)) == [Renewal(held=True, state=None)]


def test_forgetting_is_easy(backend):
    backend.shorten_retention(["t"], retention_seconds=1)
    backend.forget(["t"])
    backend.drop_bodies(["k"])
    assert backend.sweep() == 0
    assert set(backend.counts().values()) == {0}


def test_nothing_is_known(backend):
    assert list(backend.read_groups(["g"])) == [None]
    assert list(backend.read_members("g")) == []
    assert list(backend.load_bodies(["k"])) == [None]
    assert list(backend.read_values(["k"])) == [None]
    assert backend.list_values("", limit=5) == ValuePage()


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.open_groups([Group(group_id="g", size=1)]),
        lambda backend: backend.complete([Completion(member=Member("g", 0), payload=b"")]),
        lambda backend: backend.wait(["t"], timeout_seconds=1),
        lambda backend: backend.store_bodies({"k": b""}),
        lambda backend: backend.write_values([ValueWrite(key="k", value=b"")]),
    ],
)
def test_what_would_be_lost_is_refused(backend, call):
    with pytest.raises(NotSupported, match=r"null:// stores nothing.*configure another backend"):
        call(backend)


def test_an_empty_batch_is_never_refused(backend):
    backend.open_groups([])
    backend.store_bodies({})
    assert list(backend.complete([])) == []
    assert list(backend.write_values([])) == []
    assert list(backend.wait([], timeout_seconds=1)) == []


def test_close_twice(backend):
    backend.close()
    backend.close()


def test_every_fault_of_the_url_is_named():
    with pytest.raises(ConfigurationError) as caught:
        null.make_backend("null://somewhere?a=secret&b=2", DriverContext())
    assert len(caught.value.faults) == 3
    assert "secret" not in str(caught.value)
