"""What can be searched among tasks, and what a search finds. Pure; `drivetrain.app.task_search` does the I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from msgspec import Struct

from drivetrain.app.limit_waiting import LimitWaiting
from drivetrain.contract import ConfigurationError, State, TaskRecord

__all__ = [
    "FailureText",
    "FoundPage",
    "FoundTask",
    "SearchReach",
    "TaskFilter",
    "changed_at",
    "is_like",
    "no_failure",
    "since_seconds",
    "states_of",
    "worker_of",
]

#: Gives the type and the message of the failure in a record; empty: it has none.
FailureText = Callable[[TaskRecord], str]


def no_failure(_record: TaskRecord) -> str:
    """A `FailureText` for callers that read no failures."""
    return ""


class TaskFilter(Struct, frozen=True, kw_only=True):
    """Chooses the tasks that match all its conditions. A condition that is left out matches every task.

    `drivetrain.worker.value_codec` encodes it as JSON, for an operation that goes on in another process.

    Attributes:
        states: the states; empty: any.
        task: the name of the task; ``*`` stands for any text. Empty: any.
        queue: the queue of its message; ``*`` stands for any text. Empty: any.
        worker: the worker that started it last; ``*`` stands for any text. Empty: any.
        workflow: the id of the first task or group of its workflow; that task or group matches too. Empty: any.
        since: its state changed at this time or later, in Unix seconds. None: at any time.
        text: a part of its id, its name or the message of its failure, in upper or lower case. Empty: any.
        task_id: the id of the task. Empty: any.
    """

    states: tuple[State, ...] = ()
    task: str = ""
    queue: str = ""
    worker: str = ""
    workflow: str = ""
    since: float | None = None
    text: str = ""
    task_id: str = ""

    @property
    def chooses_by_state_only(self) -> bool:
        """Whether every task in one of `states` matches."""
        return self == TaskFilter(states=self.states)

    def matches(self, record: TaskRecord, failure: FailureText = no_failure) -> bool:
        """Whether the task of ``record`` matches all conditions.

        Args:
            record: the record of the task.
            failure: called where only the message of its failure can match `text`.
        """
        return (
            (not self.states or record.state in self.states)
            and self.task_id in {"", record.task_id}
            and is_like(record.task, self.task)
            and is_like(record.queue, self.queue)
            and is_like(worker_of(record), self.worker)
            and self.workflow in {"", record.workflow, record.task_id}
            and (self.since is None or changed_at(record) >= self.since)
            and (not self.text or self._has_text(record, failure))
        )

    def _has_text(self, record: TaskRecord, failure: FailureText) -> bool:
        text = self.text.casefold()
        return any(text in known.casefold() for known in (record.task_id, record.task)) or (
            text in failure(record).casefold()
        )


class FoundTask(Struct, frozen=True, kw_only=True):
    """A task that a search has found. Times are Unix seconds, by the clocks of the processes that recorded them.

    Attributes:
        task_id: the id of the task.
        state: its state.
        task: its name; empty: unknown.
        queue: the queue of its message; empty: unknown.
        workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself, or unknown.
        parent: the id of the task after which it runs, or of its group; empty: there is none.
        attempt: the latest attempt; the first is 0.
        worker: the worker that started it last; empty: none did.
        sent: when it was first sent; None: unknown.
        changed: when it entered its state; None: unknown.
        failure: the type and the message of its failure; empty: it has none.
        limit: the limit for which it waits; None: for none, or for less than a minute.
    """

    task_id: str
    state: State
    task: str = ""
    queue: str = ""
    workflow: str = ""
    parent: str = ""
    attempt: int = 0
    worker: str = ""
    sent: float | None = None
    changed: float | None = None
    failure: str = ""
    limit: LimitWaiting | None = None

    @classmethod
    def of(cls, record: TaskRecord, failure: str = "", limit: LimitWaiting | None = None) -> FoundTask:
        """The task of a record."""
        sent = record.history.get(State.PENDING)
        return cls(
            task_id=record.task_id,
            state=record.state,
            task=record.task,
            queue=record.queue,
            workflow=record.workflow,
            parent=record.parent,
            attempt=record.attempt,
            worker=worker_of(record),
            sent=None if sent is None else sent.at,
            changed=changed_at(record),
            failure=failure,
            limit=limit,
        )


class SearchReach(Struct, frozen=True, kw_only=True):
    """What a search has looked at. A page shows no task outside of it.

    Attributes:
        states: the states in which tasks were searched.
        sources: where: ``backend``, ``queues`` (of the broker), ``workers`` (what they report).
        notices: what the search may have missed, and what to do; empty: it misses nothing.
    """

    states: frozenset[State] = frozenset()
    sources: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class FoundPage(Struct, frozen=True, kw_only=True):
    """A page of a search.

    Attributes:
        tasks: the tasks. Any page may have fewer than its limit, or none.
        cursor: where the next page begins, a text without a meaning of its own; None: this is the last page.
        reach: what was searched.
    """

    tasks: Sequence[FoundTask] = ()
    cursor: str | None = None
    reach: SearchReach = SearchReach()


def worker_of(record: TaskRecord) -> str:
    """The worker that started a task last; empty: none did."""
    started = record.history.get(State.STARTED)
    return "" if started is None else started.worker


def changed_at(record: TaskRecord) -> float:
    """When a task entered its state, in Unix seconds."""
    change = record.history.get(record.state)
    return 0.0 if change is None else change.at


def states_of(given: State | str | Iterable[State | str] | None) -> tuple[State, ...]:
    """The states that are given by their names, in any case, or as `State`; none: ``()``.

    Raises:
        ConfigurationError: there is no such state.
    """
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else list(given)
    return tuple(dict.fromkeys(map(_state, names)))


def _state(name: State | str) -> State:
    try:
        return State(name.upper())
    except ValueError:
        known = ", ".join(state.value for state in State)
        raise ConfigurationError(f"there is no state {name!r}; use one of {known}") from None


def since_seconds(given: datetime | timedelta | float | None, now: float) -> float | None:
    """A time in Unix seconds.

    Args:
        given: the time, with a time zone or in Unix seconds; or how long before ``now`` it was.
        now: Unix seconds.

    Raises:
        ConfigurationError: the time has no time zone.
    """
    if isinstance(given, timedelta):
        return now - given.total_seconds()
    if not isinstance(given, datetime):
        return given
    if given.utcoffset() is None:
        raise ConfigurationError(f"since is {given!r}, which has no time zone; give an aware datetime")
    return given.timestamp()


def is_like(text: str, pattern: str) -> bool:
    """Whether ``text`` is ``pattern``, in which ``*`` stands for any text; an empty one matches every text."""
    if not pattern or text == pattern:
        return True
    return "*" in pattern and _regex(pattern).fullmatch(text) is not None


@lru_cache(maxsize=64)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
