"""A state machine that reads lists of tasks page by page, while records change."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drivetrain.contract import Backend, State, Transition, evolve
from drivetrain_contract_tests.backends.calls import transition
from drivetrain_contract_tests.backends.model import Model, assert_records
from drivetrain_contract_tests.backends.state_machine import transitions

__all__ = ["ListingMachine"]

_NAMES = [f"t{number}" for number in range(8)]
_names = st.sampled_from(_NAMES)
_batches = st.lists(transitions, min_size=1, max_size=4)


class ListingMachine(RuleBasedStateMachine):
    """Changes records of a backend and of a model, and reads a list meanwhile."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.model = Model()
        self.listing: _Listing | None = None

    @initialize(states=st.lists(st.sampled_from(list(State)), min_size=len(_NAMES), max_size=len(_NAMES)))
    def begin(self, states: list[State]) -> None:
        """Record a task in each of some states."""
        self._record([transition(name, state) for name, state in zip(_NAMES, states, strict=True)])

    @rule(name=_names, batch=_batches)
    def change(self, name: str, batch: list[Transition]) -> None:
        """Record transitions of one task."""
        self._record([evolve(each, task_id=name, member=None) for each in batch])

    def _record(self, batch: list[Transition]) -> None:
        self.backend.record(batch)
        for each in batch:
            self.model.record(each)
            self.note_what_stays()  # a task may end and begin again within a batch

    @rule(names=st.lists(_names, max_size=2))
    def forget(self, names: list[str]) -> None:
        """Forget tasks."""
        self.backend.forget(names)
        for name in names:
            self.model.forget(name)

    @rule(names=st.lists(_names, max_size=2), seconds=st.sampled_from([0.0, 2_000.0]))
    def shorten_retention(self, names: list[str], seconds: float) -> None:
        """Let tasks expire earlier."""
        self.backend.shorten_retention(names, retention_seconds=seconds)
        for name in names:
            self.model.shorten_retention(name, seconds)

    @rule()
    def sweep(self) -> None:
        """Let the backend drop what has expired."""
        self.backend.sweep()

    @rule(states=st.sets(st.sampled_from(list(State)), min_size=1), limit=st.integers(1, 3))
    @precondition(lambda self: self.listing is None)
    def begin_a_list(self, states: set[State], limit: int) -> None:
        """Read the first page of a list."""
        self.listing = _Listing(frozenset(states) & self.backend.capabilities.lists_tasks.states, limit)
        self.read_a_page()

    @rule()
    @precondition(lambda self: self.listing is not None)
    def read_a_page(self) -> None:
        """Read the next page."""
        assert self.listing is not None
        if self.listing.read(self.backend, self.model):
            self.listing = None

    @invariant()
    def note_what_stays(self) -> None:
        """Forget the tasks that need no more be listed."""
        if self.listing is not None:
            self.listing.note(self.model)

    def teardown(self) -> None:
        """Read the rest of the list."""
        while self.listing is not None:
            self.read_a_page()
        self.backend.close()


class _Listing:
    """A list that is read page by page, and the tasks that have to be on one of its pages."""

    def __init__(self, states: AbstractSet[State], limit: int) -> None:
        self._states = states
        self._limit = limit
        self._cursor: str | None = None
        self._seen: set[str] = set()
        #: The tasks that have been in the states since the first page: whether each had ended then.
        self._staying: dict[str, bool] | None = None

    def read(self, backend: Backend, model: Model) -> bool:
        """Read a page; whether it was the last."""
        if self._staying is None:
            self._staying = {name: model.tasks[name].state.terminal for name in model.listed(self._states)}
        page = backend.list_tasks(self._states, limit=self._limit, cursor=self._cursor)
        assert len(page.records) <= self._limit, f"a page of {len(page.records)} records"
        ids = [found.task_id for found in page.records]
        assert_records(page.records, model.read(ids))
        assert set(ids) <= model.listed(self._states), f"listed {ids}, though not all are in {sorted(self._states)}"
        self._seen.update(ids)
        self._cursor = page.cursor
        if page.cursor is None:
            assert set(self._staying) <= self._seen, f"not listed: {sorted(set(self._staying) - self._seen)}"
        return page.cursor is None

    def note(self, model: Model) -> None:
        """Forget the tasks that have left the states, or have ended."""
        if self._staying is not None:
            here = model.listed(self._states)
            self._staying = {
                name: ended
                for name, ended in self._staying.items()
                if name in here and model.tasks[name].state.terminal is ended
            }
