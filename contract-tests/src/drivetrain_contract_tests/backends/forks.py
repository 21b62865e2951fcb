"""Processes that fork (R39)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from drivetrain.contract import Backend, State
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import (
    done,
    known,
    open_group,
    progress,
    read,
    record,
    refused,
    start,
    transition,
)
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.value_calls import stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.forking import in_child

__all__ = ["ForkChecks"]


class ForkChecks(BackendBase):
    """A backend across a fork."""

    @holds("R39")
    def test_a_child_uses_a_backend_of_its_own(self) -> None:
        """In a child, a new backend works: whether its parent has used one before the fork, was closed, or neither."""
        for use in (lambda _: None, lambda backend: backend.ping(), _use_and_close):
            namespace = self.service.namespace()
            backend = self.on(namespace)
            use(backend)
            in_child(self._using(namespace, "child"))
            _use(backend, "parent")

    @holds("R39")
    def test_a_fork_disturbs_no_thread(self) -> None:
        """A child's own backend works, and its parent's too, whatever other threads do at the time of the fork.

        A lock that another thread holds at the fork is never released in the child; and a connection that both use
        mixes up their answers.
        """
        namespace = self.service.namespace()
        backend, over = self.on(namespace), threading.Event()
        working = [
            Background(lambda number=number: _use_until(backend, f"thread {number}", over))  # type: ignore[misc]
            for number in range(3)
        ]
        try:
            for number in range(self.profile.races):
                in_child(self._using(namespace, f"child {number}"))
        finally:
            over.set()
        for each in working:
            each.result()
        _use(backend, "parent")

    @holds("R39")
    def test_a_child_that_ends_takes_nothing_with_it(self) -> None:
        """What a child has recorded is there when it has ended, and its parent's values and leases last."""
        namespace = self.service.namespace()
        backend = self.on(namespace)
        record(backend, start("mine", run="r"))
        version = stored(backend, "mine", seconds=LONG)
        in_child(self._using(namespace, "child"))
        if self.declared().shared:
            assert known(backend, "child")
        assert stored(backend, "mine", if_version=version) > version
        assert refused(backend, start("mine", run="another")), "a child has ended its parent's lease"
        (ended,) = record(backend, transition("mine", run="r", payload=b"value"))
        assert ended.applied

    @holds("R39", needs="notifies")
    def test_a_thread_that_waits_hears_of_what_a_child_has_recorded(self) -> None:
        """A fork in the middle of a `wait` ends no wait, and keeps nothing from it."""
        namespace = self.service.namespace()
        backend = self.on(namespace)
        record(backend, start("t", run="r"))
        waiting = Background(lambda: list(backend.wait(["t"], timeout_seconds=self.patience_seconds)))
        assert not waiting.ended(0.05)
        end = transition("t", run="r", payload=b"value")
        if self.declared().shared:
            in_child(lambda: record(self.service.backend(namespace), end))
        else:
            in_child(self._using(namespace, "child"))
            record(backend, end)
        assert waiting.result() == ["t"]

    def _using(self, namespace: str, name: str) -> Callable[[], None]:
        return lambda: _use(self.service.backend(namespace), name)


def _use(backend: Backend, name: str) -> None:
    """Record, read, complete and write, under names that nobody else uses."""
    record(backend, start(name, run=name))
    record(backend, transition(name, run=name, payload=name.encode()))
    found = read(backend, name)
    assert found is not None
    assert (found.state, found.payload) == (State.SUCCESS, name.encode())
    open_group(backend, 1, f"group of {name}")
    assert progress(backend, [done(0, b"member", f"group of {name}")]) == [(1, 1, False)]
    version = stored(backend, name, name.encode(), if_version=0, seconds=LONG)
    assert write(backend, name, None, if_version=version).written


def _use_until(backend: Backend, name: str, over: threading.Event) -> None:
    times = 0
    while not over.is_set():
        _use(backend, f"{name}, {times}")
        times += 1


def _use_and_close(backend: Backend) -> None:
    backend.ping()
    backend.close()
