"""The page of tasks: a search, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import Action
from drivetrain.app.finding import FoundTask, TaskFilter
from drivetrain.app.search_words import STATE_WORDS, WORDS, filter_of
from drivetrain.contract import ConfigurationError, NotSupported, State
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Limit, Page, Query, Text
from drivetrain_dashboard.views.words import split_words

__all__ = ["TaskCount", "TaskRow", "TasksPage", "TasksQuery", "read_tasks", "search_filter", "task_row"]


class TasksQuery(Query, frozen=True, kw_only=True):
    """Which tasks to find.

    Attributes:
        q: search words, for example ``state:failed task:mails.* since:2h``; a value with spaces in quotes.
        cursor: where the page begins; empty: the first page.
        limit: how many tasks the page has at most.
        count: whether to count what matches. It reads up to 10,000 tasks.
    """

    q: Text = ""
    cursor: Text = ""
    limit: Limit = 50
    count: bool = False


class TaskRow(Struct, frozen=True, kw_only=True):
    """A task. Times are Unix seconds.

    Attributes:
        task_id: the id of the task.
        state: its state.
        task: its name; empty: unknown.
        queue: the queue of its message; empty: unknown.
        workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself, or unknown.
        attempt: the latest attempt; the first is 0.
        worker: the worker that started it last; empty: none did.
        sent: when it was first sent; None: unknown.
        changed: when it entered its state; None: unknown.
        failure: the type and the message of its failure; empty: it has none.
    """

    task_id: str
    state: State
    task: str = ""
    queue: str = ""
    workflow: str = ""
    attempt: int = 0
    worker: str = ""
    sent: float | None = None
    changed: float | None = None
    failure: str = ""


class TaskCount(Struct, frozen=True, kw_only=True):
    """How many tasks match.

    Attributes:
        number: the number.
        exact: whether it is exact; otherwise it is the least number (``≥``).
    """

    number: int
    exact: bool


class TasksPage(Page, frozen=True, kw_only=True):
    """The page of tasks.

    Attributes:
        q: the search words, as they were given.
        error: what is wrong with the search words; empty: nothing.
        tasks: the tasks that were found.
        cursor: where the next page begins; None: this is the last one.
        first: whether this is the first page.
        count: how many tasks match, as far as that is known.
        sources: where the search has looked: ``backend``, ``queues``, ``workers``.
        listed: the states whose tasks the backend lists.
        words: the search words that exist, without their colon.
        states: what can follow ``state:``.
        names: the names of the tasks of the app.
    """

    q: str = ""
    error: str = ""
    tasks: tuple[TaskRow, ...] = ()
    cursor: str | None = None
    first: bool = True
    count: TaskCount | None = None
    sources: tuple[str, ...] = ()
    listed: tuple[State, ...] = ()
    words: tuple[str, ...] = tuple(WORDS)
    states: tuple[str, ...] = (*STATE_WORDS, *(state.value.lower() for state in State))
    names: tuple[str, ...] = ()


def read_tasks(context: ReadContext, query: TasksQuery) -> TasksPage:
    """Read the page. What is wrong with the words, or cannot be found, is in the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    listed = context.app.runtime.backend.capabilities.lists_tasks.states
    empty = TasksPage(
        at=context.now(),
        q=query.q,
        first=not query.cursor,
        listed=tuple(state for state in State if state in listed),
        names=tuple(sorted(context.app.tasks)),
    )
    try:
        where = search_filter(query.q, context.now())
        found = context.operations.find(where, limit=query.limit, cursor=query.cursor or None)
    except NotSupported as error:
        return replace(empty, problem=str(error))
    except ConfigurationError as error:
        return replace(empty, error=str(error))
    return replace(
        empty,
        tasks=tuple(map(task_row, found.tasks)),
        cursor=found.cursor,
        count=_count(context, where, query, found.tasks, exact=found.cursor is None and not found.reach.notices),
        sources=found.reach.sources,
        notices=found.reach.notices,
    )


def search_filter(words: str, now: float) -> TaskFilter:
    """The filter that search words mean.

    Args:
        words: the words, as a person types them.
        now: the time, in Unix seconds.

    Raises:
        ConfigurationError: a word is unknown, or its value is wrong.
    """
    return filter_of(split_words(words), datetime.fromtimestamp(now, UTC))


def task_row(task: FoundTask) -> TaskRow:
    """A task for a page."""
    return TaskRow(
        task_id=task.task_id,
        state=task.state,
        task=task.task,
        queue=task.queue,
        workflow=task.workflow,
        attempt=task.attempt,
        worker=task.worker,
        sent=task.sent,
        changed=task.changed,
        failure=task.failure,
    )


def _count(
    context: ReadContext, where: TaskFilter, query: TasksQuery, tasks: Sequence[FoundTask], *, exact: bool
) -> TaskCount | None:
    """How many tasks match; on a later page only if that was asked for, since the pages before it are not known."""
    if query.count:
        listed = context.app.runtime.backend.capabilities.lists_tasks.states
        counted = context.operations.bulk.count(Action.CANCEL, replace(where, states=where.states or tuple(listed)))
        return TaskCount(number=counted.number, exact=counted.exact)
    return None if query.cursor else TaskCount(number=len(tasks), exact=exact)
