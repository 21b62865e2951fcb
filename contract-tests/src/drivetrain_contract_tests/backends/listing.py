"""Lists of tasks by their state, page by page, while others go on (R14, R40, R42, R43)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import combinations
from typing import Final, TypeAlias, cast

from hypothesis.stateful import run_state_machine_as_test

from drivetrain.contract import Backend, State, TaskReach, Transition
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import (
    HOSTILE_NAMES,
    TERMINAL,
    UNFINISHED,
    listed,
    listed_ids,
    pages,
    read,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.backends.listing_machine import ListingMachine
from drivetrain_contract_tests.backends.timing import assert_ends, eventually, timed
from drivetrain_contract_tests.clauses import holds

__all__ = ["ListingChecks"]

_LIMIT = 3
_NAMES: Final = [f"t{number}" for number in range(20)]
_FAILED: Final = frozenset(TERMINAL) - {State.SUCCESS}
_ALL: Final = frozenset(State)

#: What happens after a page, given the ids on the pages so far and those on none yet; the ids of tasks that it ends.
_Event: TypeAlias = Callable[[Backend, Sequence[str], Sequence[str]], AbstractSet[str]]


class ListingChecks(BackendBase):
    """No page is too long, no task is left out, and nothing is listed that is not there."""

    @holds("R14", needs="lists_tasks")
    def test_tasks_are_listed_by_their_state(self) -> None:
        """Whatever states are requested, the tasks in these states are listed, as they are read, and no others."""
        backend = self.fresh()
        record(backend, *_one_in_each_state())
        reached = sorted(backend.capabilities.lists_tasks.states)
        chosen = [*combinations(reached, 1), *combinations(reached, 2), tuple(reached)]
        for states in chosen:
            expected = sorted(states)
            assert listed_ids(backend, 10, frozenset(states)) == expected
            assert listed(backend, 10, frozenset(states)) == list(backend.read(expected))
        assert listed_ids(backend, 10, frozenset()) == []

    @holds("R14")
    def test_nothing_is_listed_that_is_not_declared(self) -> None:
        """Tasks in states that `lists_tasks` does not cover are not listed; where they are, it could cover them."""
        backend = self.fresh()
        record(backend, *_one_in_each_state())
        reach = backend.capabilities.lists_tasks
        found = listed_ids(backend, 10, _ALL)
        wider = [other for other in TaskReach if reach.states < other.states and found == sorted(other.states)]
        if wider:
            self.warn_undeclared("lists_tasks", f"tasks are listed as by {wider[0].value!r}")
        else:
            assert found == sorted(reach.states)

    @holds("R14", needs="lists_tasks")
    def test_a_task_of_any_id_is_listed(self) -> None:
        """Ids, names, queues and workflows are any text, whether a task goes on or has failed."""
        backend = self.fresh()
        for state, run in ((State.PENDING, None), (State.FAILURE, None)):
            ids = [f"{state}{name}" for name in HOSTILE_NAMES]
            record(backend, *[transition(name, state, run=run, task=name, queue=name, workflow=name) for name in ids])
            found = listed(backend, 7, frozenset({state}))
            if state in backend.capabilities.lists_tasks.states:
                assert found == list(backend.read(sorted(ids)))

    @holds("R14", "R40", needs="lists_tasks")
    def test_tasks_are_listed_by_pages(self) -> None:
        """No page is longer than its limit, and together they hold all tasks, whatever the limit is."""
        backend = self.fresh()
        record(backend, *[transition(name, State.PENDING) for name in _NAMES], start("ended"), transition("ended"))
        record(backend, *[transition(f"{name} failed", State.FAILURE) for name in _NAMES])
        failed = [f"{name} failed" for name in _NAMES] if State.FAILURE in self._reached(backend) else []
        for limit in (1, 7, 20, 100):
            for states, expected in ((UNFINISHED, _NAMES), (_FAILED, failed), (UNFINISHED | _FAILED, _NAMES + failed)):
                too_long = [len(page.records) for page in pages(backend, limit, states) if len(page.records) > limit]
                assert too_long == []
                assert listed_ids(backend, limit, states) == sorted(expected), f"by pages of {limit}"

    @holds("R14", "R40", needs="lists_tasks")
    def test_what_happens_between_two_pages_hides_no_task(self) -> None:
        """Each task that is unfinished from the first page to the last is listed, and none that has ended before.

        A position in a list cannot be a cursor: what was there moves when a task ends. Nor can the time of the last
        change.
        """
        for event in _EVENTS:
            for states in (UNFINISHED, UNFINISHED | _FAILED):
                backend = self.fresh()
                record(backend, *[transition(name, State.PENDING) for name in _NAMES])
                self._assert_none_is_hidden(backend, states, event)

    @holds("R40", "R42", needs="lists_tasks")
    def test_what_happens_between_two_pages_hides_no_failed_task(self) -> None:
        """Each task that has failed before the first page is listed, whatever fails or is forgotten meanwhile."""
        for event in (_the_last_of_the_page_is_forgotten, _another_fails, _one_of_a_later_page_is_forgotten):
            backend = self.fresh()
            record(backend, *[transition(name, State.FAILURE, retention=LONG) for name in _NAMES])
            if State.FAILURE in self._reached(backend):
                self._assert_none_is_hidden(backend, _FAILED, event)

    def _assert_none_is_hidden(self, backend: Backend, states: AbstractSet[State], event: _Event) -> None:
        """Read a list in which the tasks of `_NAMES` are, with an event after each page."""
        seen, ended = list[str](), set[str]()
        for page in pages(backend, _LIMIT, states):
            ids = [found.task_id for found in page.records]
            assert len(ids) <= _LIMIT
            assert [found.task_id for found in page.records if found.state not in states] == []
            if states <= UNFINISHED or event in {_the_last_of_the_page_is_forgotten, _one_of_a_later_page_is_forgotten}:
                assert not ended.intersection(ids), f"{event.__name__}: listed though gone"
            seen += ids
            ended |= event(backend, seen, [name for name in _NAMES if name not in {*seen, *ended}])
        hidden = [name for name in _NAMES if name not in {*seen, *ended}]
        assert hidden == [], f"{event.__name__}: not listed"

    @holds("R14", "R40", "R42", needs="lists_tasks")
    def test_whatever_changes_between_two_pages_a_list_is_right(self) -> None:
        """What stays in the requested states is on a page, and a page holds what is there, as it is."""
        machine = cast("type[ListingMachine]", lambda: ListingMachine(self.fresh()))  # a factory will do
        run_state_machine_as_test(machine, settings=self.profile.settings())

    @holds("R40", needs="lists_tasks")
    def test_each_of_several_lists_is_whole(self) -> None:
        """Callers that list at the same time get all tasks each, by one object or by several."""
        one, other = self.several(2)
        record(one, *[transition(name, State.PENDING) for name in _NAMES])
        record(one, *[transition(f"{name} failed", State.FAILURE) for name in _NAMES])
        failed = {f"{name} failed" for name in _NAMES} if State.FAILURE in self._reached(one) else set[str]()
        lists = [
            (pages(backend, limit, states), set[str](), expected)
            for backend in (one, one, other)
            for limit in (_LIMIT, 7)
            for states, expected in ((UNFINISHED, {*_NAMES}), (_FAILED, failed))
        ]
        turns = deque(lists)
        while turns:
            listing, names, expected = turns.popleft()
            if (page := next(listing, None)) is not None:
                names.update(found.task_id for found in page.records)
                turns.append((listing, names, expected))
        assert [names for _, names, _ in lists] == [expected for _, _, expected in lists]

    @holds("R42", needs="lists_tasks")
    def test_a_task_is_listed_by_its_present_state_only(self) -> None:
        """A task that goes on to another state is listed there, at once, and no more where it was."""
        one, other = self.several(2)
        steps: list[Transition] = [
            transition(state=State.PENDING),
            start(),
            transition(state=State.RETRY, run="r"),
            start(attempt=1),
            transition(state=State.RETRY, run="r", attempt=1),
            start(attempt=2),
            transition(state=State.SUCCESS, run="r", attempt=2),
        ]
        reached = self._reached(one)
        for step in steps:
            record(one, step)
            here = [state for state in sorted(reached) if listed_ids(other, 5, frozenset({state}))]
            assert here == ([step.state] if step.state in reached else []), f"after {step.state}"

    @holds("R42", needs="lists_tasks")
    def test_what_is_forgotten_is_not_listed(self) -> None:
        """A task is on no page after `forget`, and under the same id only as what is recorded later."""
        backend = self.fresh()
        record(backend, *_one_in_each_state())
        backend.forget([*State])
        assert listed_ids(backend, 10, _ALL) == []
        record(backend, *[transition(name, State.PENDING) for name in State])
        assert listed_ids(backend, 10, _ALL) == sorted(State)
        assert {found.state for found in listed(backend, 10, _ALL)} == {State.PENDING}

    @holds("R42", needs="lists_tasks")
    def test_what_has_expired_is_not_listed(self) -> None:
        """A task is on no page when its retention is over, swept or not: a short one, a shortened one, or none."""
        backend = self.fresh()
        states = _FAILED & self._reached(backend)
        record(
            backend,
            *[transition(f"{state} at once", state, retention=0.0) for state in states],
            transition("t", State.PENDING),
        )
        assert listed_ids(backend, 10, states) == []
        record(backend, *[transition(f"{state} for ever", state) for state in states])
        record(backend, *[transition(f"{state} shortened", state, retention=LONG) for state in states])
        ended = timed(record, backend, *[transition(f"{state} soon", state, retention=SHORT) for state in states])
        backend.shorten_retention([f"{state} shortened" for state in states], retention_seconds=0.0)
        if states:
            assert_ends(partial(self._one_is_there, backend, states), ended, SHORT, self.resolution)
        expected = sorted(f"{state} for ever" for state in states)
        eventually(lambda: listed_ids(backend, 10, states) == expected, "what expired is gone", 2 * self.resolution)
        assert listed_ids(backend, 10) == ["t"]

    def _one_is_there(self, backend: Backend, states: AbstractSet[State]) -> bool:
        return any(name.endswith("soon") for name in listed_ids(backend, 10, states))

    @holds("R42", needs="lists_tasks")
    def test_an_id_that_is_used_again_is_listed_with_its_new_end(self) -> None:
        """The retention of an earlier record under the same id does not end a later one, swept or not."""
        backend = self.fresh()
        if State.FAILURE not in self._reached(backend):
            return
        ended = timed(record, backend, transition(state=State.FAILURE, retention=SHORT))
        assert_ends(lambda: read(backend) is not None, ended, SHORT, self.resolution)
        eventually(
            lambda: record(backend, transition(state=State.FAILURE, payload=b"2", retention=LONG))[0].applied,
            "the id can be used again",
            2 * self.resolution,
        )
        backend.sweep()
        found = listed(backend, 10, _FAILED)
        assert [one.payload for one in found] == [b"2"]

    @holds("R43", needs="lists_newest_first")
    def test_tasks_that_have_ended_come_newest_first(self) -> None:
        """Of two tasks that were recorded and ended one after the other, the later one is listed first."""
        one, other = self.several(2)
        reached = self._reached(one) & set(TERMINAL)
        names = [f"{number * 7919 % 10_000:04}" for number in range(12)]  # in no order
        states = sorted(reached)
        for number, name in enumerate(names):
            state = states[number % len(states)]
            record(one, transition(name, State.PENDING))
            record(other, start(name, lease=0.0), transition(name, state, run="r", retention=LONG))
        for limit in (1, 5, 100):
            found = [record.task_id for page in pages(one, limit, reached) for record in page.records]
            assert found == names[::-1], f"by pages of {limit}"

    @holds("R43", needs="lists_newest_first")
    def test_an_attempt_that_fails_does_not_lead(self) -> None:
        """A task that failed after several attempts comes after those that were recorded and failed later."""
        backend = self.fresh()
        if State.FAILURE not in self._reached(backend):
            return
        record(backend, start("first"), transition("first", State.RETRY, run="r"))
        record(backend, start("first", attempt=1), transition("first", State.FAILURE, run="r", attempt=1))
        record(backend, *[transition(name, State.FAILURE) for name in ("second", "third")])
        found = [found.task_id for page in pages(backend, 2, _FAILED) for found in page.records]
        assert found == ["third", "second", "first"]

    @holds("R35", "R42", needs="lists_tasks")
    def test_a_list_has_tasks_of_its_namespace_only(self) -> None:
        """Tasks of other namespaces are listed there, whatever their state is, also under the same ids."""
        one, other = self.fresh(), self.fresh()
        record(one, *_one_in_each_state())
        record(other, transition(State.FAILURE, State.PENDING), transition("other", State.CANCELLED))
        reached = self._reached(one)
        assert listed_ids(one, 10, _ALL) == sorted(reached)
        expected = [State.FAILURE, *(["other"] if State.CANCELLED in reached else [])]
        assert listed_ids(other, 10, _ALL) == sorted(expected)

    def _reached(self, backend: Backend) -> AbstractSet[State]:
        return backend.capabilities.lists_tasks.states


def _one_in_each_state() -> list[Transition]:
    """Transitions after which there is a task in each state, whose id is the name of the state."""
    first = [transition(State.PENDING, State.PENDING), start(State.STARTED), start(State.RECEIVED), start(State.RETRY)]
    later = [transition(state, state, run="r") for state in (State.RECEIVED, State.RETRY)]
    ended = [transition(state, state, retention=LONG) for state in TERMINAL]
    return [*first, *later, *ended]


def _listed_tasks_end(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[transition(name, State.CANCELLED) for name in seen])
    return {*seen}


def _one_listed_task_ends_and_others_begin(
    backend: Backend, seen: Sequence[str], _unseen: Sequence[str]
) -> AbstractSet[str]:
    name = f"{len(seen)} is new"
    record(backend, *[transition(name, State.CANCELLED) for name in seen[:1]], transition(name, State.PENDING))
    return {*seen[:1]}


def _the_last_of_the_page_is_forgotten(
    backend: Backend, seen: Sequence[str], _unseen: Sequence[str]
) -> AbstractSet[str]:
    backend.forget(seen[-1:])
    return {*seen[-1:]}


def _a_task_of_a_later_page_ends(backend: Backend, _seen: Sequence[str], unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[transition(name, State.CANCELLED) for name in unseen[-1:]])
    return {*unseen[-1:]}


def _one_of_a_later_page_is_forgotten(
    backend: Backend, _seen: Sequence[str], unseen: Sequence[str]
) -> AbstractSet[str]:
    backend.forget(unseen[:1])
    return {*unseen[:1]}


def _tasks_of_later_pages_start(backend: Backend, _seen: Sequence[str], unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[start(name, at=2.0) for name in unseen])
    return set()


def _tasks_of_later_pages_are_tried_again(
    backend: Backend, _seen: Sequence[str], unseen: Sequence[str]
) -> AbstractSet[str]:
    for name in unseen:
        record(backend, start(name), transition(name, State.RETRY, run="r"))
    return set()


def _listed_tasks_start(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[start(name, at=2.0) for name in seen])
    return set()


def _another_fails(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    if len(seen) < 10 * len(_NAMES):  # the list ends, though it may show what fails meanwhile
        record(backend, transition(f"{len(seen)} is new", State.FAILURE))
    return set()


_EVENTS: Final[tuple[_Event, ...]] = (
    _listed_tasks_end,
    _one_listed_task_ends_and_others_begin,
    _the_last_of_the_page_is_forgotten,
    _a_task_of_a_later_page_ends,
    _tasks_of_later_pages_start,
    _tasks_of_later_pages_are_tried_again,
    _listed_tasks_start,
)
