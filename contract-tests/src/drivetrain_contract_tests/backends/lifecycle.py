"""The life of a backend object (R33 to R35)."""

from __future__ import annotations

import threading
from functools import partial

from drivetrain.contract import Backend, Group, RunLease, ServiceError, State
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import (
    NOTHING,
    counts,
    done,
    listed_ids,
    open_group,
    progress,
    read,
    record,
    renewed,
    start,
    transition,
)
from drivetrain_contract_tests.backends.concurrency import Background, together
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import listed_keys, stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.urls import alike, with_namespace, without_namespace

__all__ = ["LifecycleChecks"]

_THREADS = 4
#: How long a wait has before something happens that is to wake it, in seconds.
_BEGINS_SECONDS = 0.1


class LifecycleChecks(BackendBase):
    """An object of a driver, and the namespace that it works on."""

    @holds("R35")
    def test_namespaces_are_fresh_and_empty(self) -> None:
        """The author's factory gives a namespace that was never used, in which there is nothing.

        If this fails, look at the factory first: its URL must hold the name of the namespace.
        """
        names = [self.service.namespace() for _ in range(3)]
        assert len({self.service.url(name) for name in names}) == len(names), "two namespaces have one URL"
        for name in names:
            backend = self.on(name)
            assert counts(backend) == NOTHING, f"a fresh namespace holds {counts(backend)}"
            _fill(backend)

    @holds("R35")
    def test_namespaces_do_not_meet(self) -> None:
        """What is kept under a name in one namespace is not known in another, nor touched from it."""
        one, other = self.fresh(), self.fresh()
        _fill(one)
        assert read(other) is None
        assert list(other.read_groups(["g"])) == [None]
        assert list(other.read_members("g")) == []
        assert list(other.load_bodies(["b"])) == [None]
        assert listed_ids(other, 10) == []
        assert list(other.read_values(["k"])) == [None]
        assert listed_keys(other) == []
        stored(other, if_version=0)
        write(other, value=None)
        other.forget(["t", "g"])
        other.drop_bodies(["b"])
        other.sweep()
        _assert_filled(one)

    @holds("R35")
    def test_objects_of_one_namespace_meet(self) -> None:
        """What one object keeps, another on the same namespace knows, also one that is made later."""
        namespace = self.service.namespace()
        early, one = self.on(namespace), self.on(namespace)
        early.ping()
        _fill(one)
        _assert_filled(early)
        _assert_filled(self.on(namespace))
        assert not write(early, if_version=0).written, "two objects of one namespace have each a value of one key"

    @holds("R35")
    def test_the_namespace_of_the_context_counts_where_the_url_names_none(self) -> None:
        """Apps of different names on one URL do not meet, however alike the names are; apps of one name do.

        If this fails, look at the factory too: a URL that names a namespace must do so as its option ``namespace``.
        """
        names = alike(self.service.namespace())
        url = without_namespace(self.service.url(self.service.namespace()))
        backends = {name: self.at(url, name) for name in names}
        for name, backend in backends.items():
            assert read(backend) is None, f"the namespace {name!r} meets another one"
            record(backend, start(payload=name.encode()))
            backend.store_bodies({"b": name.encode()})
            backend.open_groups([Group(group_id="g", size=1, continuation=name.encode())])
            written = write(backend, "k", name.encode(), if_version=0).written
            assert written, f"the values of {name!r} meet those of another"
        for name in names:
            again = self.at(url, name)
            found = read(again)
            assert found is not None, f"two backends of the namespace {name!r} do not meet"
            assert found.payload == name.encode(), f"the namespace {name!r} meets another one"
            assert list(again.load_bodies(["b"])) == [name.encode()], f"the bodies of {name!r} meet those of another"
            (group,) = again.read_groups(["g"])
            assert group is not None
            assert group.continuation == name.encode(), f"the groups of {name!r} meet those of another"
            (value,) = again.read_values(["k"])
            assert value is not None
            assert value.value == name.encode(), f"the values of {name!r} meet those of another"
            assert listed_keys(again) == ["k"], f"the values of {name!r} meet those of another"
            assert counts(again) == {**NOTHING, "tasks": 1, "groups": 1, "bodies": 1, "values": 1}

    @holds("R35")
    def test_the_namespace_of_the_url_is_stronger(self) -> None:
        """A URL that names a namespace means that one, whatever the context says."""
        name, other = self.service.namespace(), self.service.namespace()
        url = without_namespace(self.service.url(self.service.namespace()))
        named = self.at(with_namespace(url, name), other)
        _fill(named)
        assert read(self.at(url, other)) is None
        _assert_filled(self.at(url, name))

    @holds("R33")
    def test_an_empty_batch_does_nothing(self) -> None:
        """Every method takes a batch of none, and answers with none."""
        backend = self.fresh()
        for method in (backend.record, backend.read, backend.renew, backend.complete, backend.read_groups):
            assert list(method([])) == []
        assert list(backend.load_bodies([])) == []
        backend.shorten_retention([], retention_seconds=0.0)
        backend.forget([])
        backend.open_groups([])
        backend.store_bodies({})
        backend.drop_bodies([])
        assert counts(backend) == NOTHING

    @holds("R33")
    def test_all_methods_may_overlap(self) -> None:
        """Threads that share an object get each their own answers, whatever the others call meanwhile.

        A connection that is shared without a lock mixes up the answers.
        """
        backend, over = self.fresh(), threading.Event()
        looking = Background(_look, backend, over)
        try:
            together([partial(_work, backend, number) for number in range(_THREADS)])
        finally:
            over.set()
        looking.result()
        assert counts(backend) == {**NOTHING, "tasks": 10 * _THREADS, "groups": _THREADS, "members": 10 * _THREADS}

    @holds("R34")
    def test_it_may_be_closed_twice_and_before_use(self) -> None:
        """Closing needs no connection, and closing again does no harm; an object that was closed works again."""
        namespace = self.service.namespace()
        used, unused = self.on(namespace), self.on(namespace)
        record(used, transition())
        for backend in (unused, used):
            backend.close()
            backend.close()
        for number, backend in enumerate((unused, used)):
            record(backend, transition(f"after {number}"))
            (found,) = backend.read([f"after {number}"])
            assert found is not None, "a backend that was closed and is used again has recorded nothing"

    @holds("R34")
    def test_closing_disturbs_nobody_else(self) -> None:
        """What was recorded stays, and other objects go on."""
        one, other = self.several(2)
        _fill(one)
        other.ping()
        one.close()
        _assert_filled(other)
        record(other, transition(run="r"))

    @holds("R34", needs="notifies")
    def test_closing_wakes_no_other_wait(self) -> None:
        """A thread that waits by another object waits on, and is woken by the end of its task."""
        closed, waiter = self.several(2)
        record(waiter, start())
        closed.ping()
        waiting = Background(waiter.wait, ["t"], timeout_seconds=2 * self.prompt_seconds)
        assert not waiting.ended(0.1), "a wait has ended before anything happened"
        closed.close()
        assert not waiting.ended(0.2), "closing one object has ended the wait of another"
        record(waiter, transition(run="r"))
        assert list(waiting.result(self.prompt_seconds)) == ["t"]

    @holds("R34", needs="notifies")
    def test_closing_wakes_its_own_waits(self) -> None:
        """A thread that waits while its object is closed does not wait on."""
        backend = self.fresh()
        record(backend, start())
        waiting = Background(_wait, backend)
        eventually(lambda: _closed(backend, waiting), "a wait is woken by close", self.prompt_seconds)
        assert waiting.result() == []

    @holds("R34", needs="notifies")
    def test_close_wakes_a_wait_for_values(self) -> None:
        """That of its own object, and of no other; a closed object waits again."""
        one, other = self.several(2)
        calls = [partial(each.wait_values, {"k": 0}, prefix="p/", timeout_seconds=60.0) for each in (one, other)]
        closed, waiting = [Background(call) for call in calls]
        assert not closed.ended(_BEGINS_SECONDS), "a wait has ended before anything happened"
        one.close()
        assert list(closed.result(self.prompt_seconds)) == []
        again = Background(one.wait_values, {"k": 0}, timeout_seconds=60.0)
        assert not again.ended(_BEGINS_SECONDS), "a wait has ended before anything happened"
        assert not waiting.ended(), "a wait has ended with another object"
        stored(other, "k")
        assert [list(each.result(self.prompt_seconds)) for each in (waiting, again)] == [["k"], ["k"]]


def _fill(backend: Backend) -> None:
    record(backend, start(payload=b"v"))
    open_group(backend, 1)
    progress(backend, [done(0, b"m")])
    backend.store_bodies({"b": b"body"})
    stored(backend, value=b"value", seconds=LONG)


def _assert_filled(backend: Backend) -> None:
    found = read(backend)
    assert found is not None
    assert found.payload == b"v"
    assert list(backend.read_members("g")) == [b"m"]
    assert list(backend.load_bodies(["b"])) == [b"body"]
    (value,) = backend.read_values(["k"])
    assert value is not None
    assert value.value == b"value"
    assert counts(backend) == {"tasks": 1, "groups": 1, "members": 1, "bodies": 1, "values": 1}


def _work(backend: Backend, number: int) -> None:
    """All that a worker does, on tasks of its own; every answer is looked at."""
    group_id, names = f"g{number}", [f"{number}-{index}" for index in range(10)]
    open_group(backend, len(names), group_id)
    for index, name in enumerate(names):
        assert record(backend, start(name, run=name))[0].before is None
        assert renewed(backend, name, name)
        ended = record(backend, transition(name, run=name, payload=name.encode()))
        assert ended[0].before is not None
        assert ended[0].before.task_id == name
        assert progress(backend, [done(index, name.encode(), group_id)]) == [(len(names), index + 1, False)]
        backend.store_bodies({name: name.encode()})
        assert list(backend.load_bodies([name])) == [name.encode()]
        backend.drop_bodies([name])
        version = stored(backend, name, name.encode(), if_version=0, seconds=LONG)
        (value,) = backend.read_values([name])
        assert value is not None
        assert (value.value, value.version) == (name.encode(), version)
        assert write(backend, name, None, if_version=version).written
    assert [found and found.payload for found in backend.read(names)] == [name.encode() for name in names]
    assert list(backend.read_members(group_id)) == [name.encode() for name in names]


def _look(backend: Backend, over: threading.Event) -> None:
    while not over.wait(0.001):
        assert set(backend.counts()) == set(NOTHING)
        backend.sweep()
        assert list(backend.read(["unknown"])) == [None]
        backend.list_tasks(frozenset(State), limit=5)
        assert list(backend.read_values(["unknown"])) == [None]
        assert list(backend.list_values("unknown", limit=5).values) == []
        (renewal,) = backend.renew([RunLease(task_id="unknown", run="r", seconds=LONG)])
        assert not renewal.held


def _wait(backend: Backend) -> list[str]:
    try:
        return list(backend.wait(["t"], timeout_seconds=60.0))
    except ServiceError:
        return []  # it was closed, after all


def _closed(backend: Backend, waiting: Background[list[str]]) -> bool:
    backend.close()  # again and again, since the thread may not have been inside yet
    return waiting.ended()
