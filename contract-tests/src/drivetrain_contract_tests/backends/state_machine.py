"""A state machine: the same calls to the driver and to a model."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from drivetrain.contract import Backend, Completion, Group, Member, RunLease, State, Transition, evolve
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.calls import NOTHING, UNFINISHED, counts, listed_ids, start, transition
from drivetrain_contract_tests.backends.model import Model, assert_outcomes, assert_records
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.clauses import holds

__all__ = ["StateMachineChecks", "transitions"]

_NAMES = ("a", "b", "c")
#: Every group has at least this many members, so that each index of a completion is in the group.
_SIZE = 3

_names = st.sampled_from(_NAMES)
_runs = st.sampled_from(["r1", "r2"])
#: Over at once, or not over while the calls last, and far enough apart for clocks that differ.
_seconds = st.sampled_from([0.0, 1_000.0, 2_000.0])
_payloads = st.none() | st.binary(max_size=3)
_members = st.builds(Member, _names, st.integers(0, _SIZE - 1))
#: Transitions of any kind.
transitions = st.builds(
    Transition,
    task_id=_names,
    state=st.sampled_from(list(State)),
    attempt=st.integers(0, 2),
    at=st.sampled_from([1.0, 2.5]),
    worker=st.sampled_from(["", "w"]),
    task=st.sampled_from(["", "mod.task"]),
    queue=st.sampled_from(["", "q"]),
    workflow=st.sampled_from(["", "wf", "wf 2"]),
    parent=st.sampled_from(["", "p"]),
    run=st.none() | _runs,
    lease=st.none() | _seconds,
    received_at=st.none() | st.just(0.5),
    payload=_payloads,
    downstream=_payloads,
    retention=st.none() | _seconds,
    member=st.none() | _members,
)
_completions = st.builds(Completion, member=_members, payload=st.binary(max_size=3), failed=st.booleans())


class StateMachineChecks(BackendBase):
    """Differential: the same random program, the same observable history."""

    @holds("R1", "R23")
    def test_every_sequence_of_calls_goes_as_the_model_says(self) -> None:
        """Whatever is called in whatever order, the backend answers as `drivetrain.contract.apply` and plain dicts do.

        A failure prints the shortest sequence of calls that was found, as a script.
        """
        machine = cast("type[_Calls]", lambda: _Calls(self.fresh(), self.resolution))  # a factory will do
        run_state_machine_as_test(machine, settings=self.profile.settings())


class _Calls(RuleBasedStateMachine):
    """Drives a backend and the model by the same calls."""

    def __init__(self, backend: Backend, resolution: float) -> None:
        super().__init__()
        self.backend = backend
        self.resolution = resolution
        self.capabilities = backend.capabilities
        self.model = Model()
        self.batch: list[Transition] = []

    @rule(batch=st.lists(transitions, min_size=1, max_size=4))
    def record(self, batch: list[Transition]) -> None:
        # No task is a member of the group that goes with its own record.
        self.batch = [
            evolve(each, member=None) if each.member and each.member.group_id == each.task_id else each
            for each in batch
        ]
        self.record_again()

    @rule()
    def record_again(self) -> None:
        outcomes = self.backend.record(self.batch)
        assert_outcomes(outcomes, [self.model.record(each) for each in self.batch])

    @rule(name=_names, run=_runs, attempt=st.integers(0, 1), member=_members, retention=st.none() | _seconds)
    def run_to_the_end(self, name: str, run: str, attempt: int, member: Member, retention: float | None) -> None:
        """Two likely transitions, so that tasks reach their end."""
        fields: dict[str, Any] = {"run": run, "attempt": attempt}
        place = None if member.group_id == name else member
        end = transition(name, payload=b"v", retention=retention, member=place, **fields)
        self.record([start(name, lease=1_000.0, **fields), end])

    @rule(name=_names, collect=st.booleans(), size=st.integers(_SIZE, _SIZE + 1), continuation=st.binary(max_size=2))
    def open_group(self, name: str, collect: bool, size: int, continuation: bytes) -> None:
        group = Group(group_id=name, size=size, collect=collect, continuation=continuation)
        self.backend.open_groups([group, evolve(group, size=9, continuation=b"again")])
        self.model.open_group(group)

    @rule(batch=st.lists(_completions, max_size=4))
    def complete(self, batch: list[Completion]) -> None:
        assert list(self.backend.complete(batch)) == [self.model.complete(each) for each in batch]

    @rule(name=_names, run=_runs, seconds=_seconds)
    def renew(self, name: str, run: str, seconds: float) -> None:
        lease = RunLease(task_id=name, run=run, seconds=seconds)
        assert list(self.backend.renew([lease])) == [self.model.renew(lease)]

    @rule(name=_names, seconds=_seconds)
    def shorten_retention(self, name: str, seconds: float) -> None:
        self.backend.shorten_retention([name], retention_seconds=seconds)
        self.model.shorten_retention(name, seconds)

    @rule(name=_names)
    def forget(self, name: str) -> None:
        self.backend.forget([name])
        self.model.forget(name)

    @rule(name=_names, body=st.binary(max_size=3))
    def store_body(self, name: str, body: bytes) -> None:
        body = self.model.bodies.setdefault(name, body)  # what is stored again is the same
        self.backend.store_bodies({name: body})

    @rule(name=_names)
    def drop_body(self, name: str) -> None:
        self.backend.drop_bodies([name])
        self.model.bodies.pop(name, None)

    @rule()
    def sweep(self) -> None:
        self.backend.sweep()

    @rule()
    def count(self) -> None:
        self.counts(self.model.counts())

    @rule()
    def leave_nothing_behind(self) -> None:
        self.backend.forget(_NAMES)
        self.backend.drop_bodies(_NAMES)
        self.model = Model()
        self.counts(NOTHING)

    def counts(self, expected: dict[str, int]) -> None:
        eventually(lambda: counts(self.backend) == expected, f"the counts are {expected}", 2 * self.resolution)

    @invariant()
    def same_records(self) -> None:
        assert_records(self.backend.read(_NAMES), self.model.read(_NAMES))

    @invariant()
    def same_groups(self) -> None:
        assert list(self.backend.read_groups(_NAMES)) == [self.model.read_group(name) for name in _NAMES]
        for name in _NAMES:
            assert list(self.backend.read_members(name)) == self.model.read_members(name)

    @invariant()
    def same_bodies(self) -> None:
        assert list(self.backend.load_bodies(_NAMES)) == [self.model.bodies.get(name) for name in _NAMES]

    @invariant()
    def same_tasks_are_listed(self) -> None:
        states = self.capabilities.lists_tasks.states
        assert listed_ids(self.backend, 100, states) == sorted(self.model.listed(states))

    @invariant()
    def same_ended(self) -> None:
        ended = set(_NAMES) - self.model.listed(UNFINISHED)
        if self.capabilities.notifies and ended:
            assert set(self.backend.wait(_NAMES, timeout_seconds=0)) == ended

    def teardown(self) -> None:
        self.backend.close()
