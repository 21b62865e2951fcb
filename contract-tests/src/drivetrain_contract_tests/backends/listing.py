"""Lists of unfinished tasks, page by page, while others go on (R40)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from drivetrain.contract import Backend, State
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.calls import listed_ids, pages, record, start, transition
from drivetrain_contract_tests.clauses import holds

__all__ = ["ListingChecks"]

_LIMIT = 3
_NAMES: Final = [f"t{number}" for number in range(20)]

#: What happens after a page, given the ids on the pages so far and those on none yet; the ids of tasks that it ends.
_Event: TypeAlias = Callable[[Backend, Sequence[str], Sequence[str]], AbstractSet[str]]


class ListingChecks(BackendBase):
    """No page is too long, and no task is left out."""

    @holds("R14", "R40", needs="lists_tasks")
    def test_unfinished_tasks_are_listed_by_pages(self) -> None:
        """No page is longer than its limit, and together they hold all tasks, whatever the limit is."""
        backend = self.fresh()
        record(backend, *[transition(name, State.PENDING) for name in _NAMES], start("ended"), transition("ended"))
        for limit in (1, 7, 20, 100):
            assert [len(page.records) for page in pages(backend, limit) if len(page.records) > limit] == []
            assert listed_ids(backend, limit) == sorted(_NAMES), f"by pages of {limit}"

    @holds("R14", "R40", needs="lists_tasks")
    def test_what_happens_between_two_pages_hides_no_task(self) -> None:
        """Each task that is unfinished from the first page to the last is listed, and none that has ended before.

        A position in a list cannot be a cursor: what was there moves when a task ends. Nor can the time of the last
        change.
        """
        for event in _EVENTS:
            backend = self.fresh()
            record(backend, *[transition(name, State.PENDING) for name in _NAMES])
            seen, ended = list[str](), set[str]()
            for page in pages(backend, _LIMIT):
                listed = [found.task_id for found in page.records]
                assert len(listed) <= _LIMIT
                assert not ended.intersection(listed), f"{event.__name__}: listed though ended"
                seen += listed
                ended |= event(backend, seen, [name for name in _NAMES if name not in {*seen, *ended}])
            hidden = [name for name in _NAMES if name not in {*seen, *ended}]
            assert hidden == [], f"{event.__name__}: not listed"

    @holds("R40", needs="lists_tasks")
    def test_each_of_several_lists_is_whole(self) -> None:
        """Callers that list at the same time get all tasks each, by one object or by several."""
        one, other = self.several(2)
        record(one, *[transition(name, State.PENDING) for name in _NAMES])
        lists = [pages(backend, limit) for backend in (one, one, other) for limit in (_LIMIT, 7)]
        seen = [set[str]() for _ in lists]
        turns = deque(zip(lists, seen, strict=True))
        while turns:
            listing, names = turns.popleft()
            if (page := next(listing, None)) is not None:
                names.update(found.task_id for found in page.records)
                turns.append((listing, names))
        assert seen == [set(_NAMES)] * len(lists)


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


def _tasks_of_later_pages_start(backend: Backend, _seen: Sequence[str], unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[start(name, at=2.0) for name in unseen])
    return set()


def _listed_tasks_start(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    record(backend, *[start(name, at=2.0) for name in seen])
    return set()


_EVENTS: Final[tuple[_Event, ...]] = (
    _listed_tasks_end,
    _one_listed_task_ends_and_others_begin,
    _the_last_of_the_page_is_forgotten,
    _a_task_of_a_later_page_ends,
    _tasks_of_later_pages_start,
    _listed_tasks_start,
)
