"""Batches over the same rows in opposite orders, from several threads at once (R33)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from drivetrain.contract import Backend, Completion, Group, Member, RunLease, ServiceError, State
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import record, start, transition
from drivetrain_contract_tests.backends.concurrency import together
from drivetrain_contract_tests.backends.value_calls import put, remove
from drivetrain_contract_tests.clauses import holds

__all__ = ["DeadlockChecks"]

_THREADS = 4
#: The rows of one batch: enough that two batches meet in the middle.
_ROWS = 20
#: How long each call is repeated for each of the profile's races, in seconds; and how often at least.
_SECONDS_PER_RACE, _FEWEST_CALLS = 0.02, 3

Call = Callable[[Backend, Sequence[str]], None]


def _record(backend: Backend, names: Sequence[str]) -> None:
    runs = [start(name, run=name, lease=0.0) for name in names]
    record(backend, *runs, *[transition(name, State.RECEIVED, run=name) for name in names])


def _record_members(backend: Backend, names: Sequence[str]) -> None:
    """Ends that complete members of other groups, in the order of the batch."""
    record(backend, *[transition(f"m {name}", member=Member(name, 0)) for name in names])


def _record_new(backend: Backend, names: Sequence[str]) -> None:
    backend.forget([f"new {name}" for name in names])
    record(backend, *[transition(f"new {name}", State.PENDING) for name in names])


def _renew(backend: Backend, names: Sequence[str]) -> None:
    backend.renew([RunLease(task_id=name, run=name, seconds=LONG) for name in names])


def _complete(backend: Backend, names: Sequence[str]) -> None:
    backend.complete([Completion(member=Member(name, 1), payload=b"p") for name in names])


def _shorten(backend: Backend, names: Sequence[str]) -> None:
    backend.shorten_retention([f"ended {name}" for name in names], retention_seconds=LONG)


def _forget(backend: Backend, names: Sequence[str]) -> None:
    backend.forget([f"ended {name}" for name in names])


def _open(backend: Backend, names: Sequence[str]) -> None:
    backend.open_groups([Group(group_id=name, size=2) for name in names])


def _store(backend: Backend, names: Sequence[str]) -> None:
    backend.store_bodies(dict.fromkeys(names, b"body"))
    backend.drop_bodies(names)


def _write(backend: Backend, names: Sequence[str]) -> None:
    backend.write_values([put(name) for name in names])
    backend.write_values([remove(name) if number % 2 else put(name, if_version=0) for number, name in enumerate(names)])


_CALLS: tuple[Call, ...] = (
    _record,
    _record_members,
    _record_new,
    _renew,
    _complete,
    _shorten,
    _forget,
    _open,
    _store,
    _write,
)


class DeadlockChecks(BackendBase):
    """A call waits for other calls, and never fails because of them.

    A database that locks the rows of a batch one after the other ends one of two transactions that wait for each
    other. Sort the rows of a batch before you lock them, and try again when the database says so.
    """

    @holds("R33")
    def test_batches_in_opposite_orders_all_succeed(self) -> None:
        """Threads call one method with the same names, some forwards, some backwards, some in any order."""
        one, other = self.several(2)
        names = _prepare(one)
        for call in _CALLS:
            orders = [names, names[::-1], random.Random(1).sample(names, _ROWS), random.Random(2).sample(names, _ROWS)]
            calls = [
                partial(self._repeat, backend, order, call)
                for backend, order in zip((one, other) * (_THREADS // 2), orders, strict=True)
            ]
            together(calls)

    @holds("R33")
    def test_different_calls_over_the_same_rows_all_succeed(self) -> None:
        """Threads call different methods with the same names in opposite orders: none fails because of another."""
        one, other = self.several(2)
        names = _prepare(one)
        calls = [
            partial(self._repeat, backend, names[::step], call)
            for call, backend, step in (
                (_record, one, 1),
                (_renew, other, -1),
                (_record_members, one, -1),
                (_complete, other, 1),
                (_forget, one, 1),
                (_shorten, other, -1),
            )
        ]
        together(calls)

    def _repeat(self, backend: Backend, names: Sequence[str], call: Call) -> None:
        until = time.monotonic() + _SECONDS_PER_RACE * self.profile.races
        calls = 0
        while calls < _FEWEST_CALLS or time.monotonic() < until:
            try:
                call(backend, names)
            except ServiceError as error:
                raise AssertionError(
                    f"{call.__name__.strip('_')} failed because other threads changed the same rows in another order: "
                    f"{type(error).__name__}: {error}"
                ) from error
            calls += 1


def _prepare(backend: Backend) -> list[str]:
    names = [f"n{number}" for number in range(_ROWS)]
    backend.open_groups([Group(group_id=name, size=2) for name in names])
    record(backend, *[start(name, run=name, lease=0.0) for name in names])
    record(backend, *[transition(f"ended {name}") for name in names])
    return names
