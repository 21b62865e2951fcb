"""Selections: the tasks of an operation, by ids or by a filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from attrs import frozen
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import Action
from drivetrain.app.bulk.operation_store import OperationStore
from drivetrain.app.finding import FoundPage, FoundTask, TaskFilter
from drivetrain.app.task_search import LARGEST_PAGE
from drivetrain.contract import State

__all__ = ["PAGE", "Count", "FilterSelection", "Find", "IdSelection", "Selection", "described_filter", "with_states"]

#: How many tasks an operation acts on between two writes of its progress.
PAGE = 100
#: How many pages of a search are counted at most.
_MOST_COUNTED_PAGES = 10
#: By how much the clocks of two machines may differ, in seconds.
_SKEW_SECONDS = 5.0

#: A page of the tasks that match: filter, limit, cursor. See `drivetrain.app.operations.Operations.find`.
Find = Callable[[TaskFilter, int, str | None], FoundPage]

_STATES: dict[Action, tuple[State, ...]] = {
    Action.CANCEL: tuple(state for state in State if not state.terminal),
    Action.RETRY: (State.FAILURE, State.EXPIRED),
    Action.RUN_NOW: (State.PENDING, State.RECEIVED, State.RETRY),
}


@frozen
class Count:
    """How many tasks are chosen. Immutable."""

    number: int
    #: Whether the number is exact; otherwise it is the least number.
    exact: bool = True
    #: What the search may have missed, and what to do.
    notices: tuple[str, ...] = ()


class Selection(Protocol):
    """Chooses tasks, by ids or by a filter. Used by one thread. All methods may raise ServiceError."""

    def total(self) -> Count:
        """How many tasks are chosen."""
        ...

    def ids(self, cursor: str) -> tuple[Sequence[str], str | None]:
        """The ids from ``cursor`` on (empty: from the first one), and where the next page begins; None: nowhere."""
        ...


class IdSelection:
    """The ids that were given to an operation. The cursor is the number of the next one."""

    def __init__(self, store: OperationStore, operation_id: str, count: int) -> None:
        self._store = store
        self._operation_id = operation_id
        self._count = count

    def total(self) -> Count:
        """See `Selection.total`."""
        return Count(self._count)

    def ids(self, cursor: str) -> tuple[Sequence[str], str | None]:
        """See `Selection.ids`."""
        first = int(cursor or "0")
        found = self._store.ids(self._operation_id, first, PAGE)
        following = first + PAGE
        return found, str(following) if following < self._count else None


class FilterSelection:
    """The tasks that matched a filter when the operation was asked for.

    A task whose state has changed since then is left out: it may be one that was retried and has failed again.

    Args:
        find: finds tasks.
        where: the filter.
        asked_at: when the operation was asked for, in Unix seconds.
    """

    def __init__(self, find: Find, where: TaskFilter, *, asked_at: float) -> None:
        self._find = find
        self._where = where
        self._latest = asked_at + _SKEW_SECONDS
        self._seen: set[str] = set()
        #: The rest of the page of the search, and where the next one begins.
        self._found: list[str] = []
        self._following: str | None = None
        #: Whether this pass has found a task that no earlier pass has found.
        self._progress = False

    def total(self) -> Count:
        """See `Selection.total`."""
        number, cursor, notices = 0, None, dict[str, None]()
        for _ in range(_MOST_COUNTED_PAGES):
            page = self._find(self._where, LARGEST_PAGE, cursor)
            number += sum(self._is_chosen(task) for task in page.tasks)
            notices.update(dict.fromkeys(page.reach.notices))
            cursor = page.cursor
            if cursor is None:
                break
        return Count(number, exact=cursor is None and not notices, notices=tuple(notices))

    def ids(self, cursor: str) -> tuple[Sequence[str], str | None]:
        """See `Selection.ids`."""
        if not self._found:
            self._search(cursor)
        chosen, self._found = self._found[:PAGE], self._found[PAGE:]
        return chosen, cursor if self._found else self._following

    def _search(self, cursor: str) -> None:
        # The first page is large: queues and workers show no second one.
        page = self._find(self._where, PAGE if cursor else LARGEST_PAGE, cursor or None)
        found = [task.task_id for task in page.tasks if task.task_id not in self._seen and self._is_chosen(task)]
        self._seen.update(found)
        self._found, self._following = found, page.cursor
        self._progress = self._progress or bool(found)
        if page.cursor is None:
            # Queues and workers show the first tasks only. More of them show when these are gone.
            self._following = "" if self._progress and page.reach.sources != ("backend",) else None
            self._progress = False

    def _is_chosen(self, task: FoundTask) -> bool:
        return task.changed is None or task.changed <= self._latest


def with_states(action: Action, where: TaskFilter) -> TaskFilter:
    """The filter with the states on which the action acts, where it names none.

    A retry without states leaves cancelled tasks out: they were cancelled on purpose.
    """
    return where if where.states else replace(where, states=_STATES[action])


def described_filter(where: TaskFilter) -> str:
    """The conditions in words, for operators."""
    states: AbstractSet[State] = frozenset(where.states)
    words = {
        "state": ",".join(state.value.lower() for state in State if state in states),
        "id": where.task_id,
        "task": where.task,
        "queue": where.queue,
        "worker": where.worker,
        "workflow": where.workflow,
        "since": "" if where.since is None else f"{where.since:.0f}",
        "text": where.text,
    }
    return "tasks with " + " ".join(f"{name}:{value}" for name, value in words.items() if value)
