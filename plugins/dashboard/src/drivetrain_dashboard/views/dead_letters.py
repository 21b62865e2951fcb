"""The page of dead letters: which tasks died in each queue, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Limit, Page, Query, Text
from drivetrain_dashboard.views.queues import MessageRow, message_row

__all__ = ["DeadLettersPage", "DeadLettersQuery", "DeadQueue", "letters_filter", "read_dead_letters"]


class DeadLettersQuery(Query, frozen=True, kw_only=True):
    """Which dead letters to show.

    Attributes:
        queue: the queue; empty: the first one that has dead letters.
        task: the name of the task; empty: any.
        reason: a part of the reason, in upper or lower case; empty: any.
        limit: how many dead letters are shown at most.
    """

    queue: Text = ""
    task: Text = ""
    reason: Text = ""
    limit: Limit = 50


class DeadQueue(Struct, frozen=True, kw_only=True):
    """A queue.

    Attributes:
        name: its name.
        dead: how many dead letters it has; None: the broker cannot tell.
    """

    name: str
    dead: int | None


class DeadLettersPage(Page, frozen=True, kw_only=True):
    """The page of dead letters.

    Attributes:
        queues: the queues that have dead letters, or may have some; those with most first.
        queue: the queue whose dead letters are shown; empty: none has any.
        task: the name of the task that was asked for; empty: any.
        reason: the part of the reason that was asked for; empty: any.
        letters: the oldest dead letters of the queue that match.
        more: whether further ones match.
        size: how many dead letters the queue has, whether they match or not; None: the broker cannot tell.
        tasks: how many of the shown letters are of each task, most first.
    """

    queues: tuple[DeadQueue, ...] = ()
    queue: str = ""
    task: str = ""
    reason: str = ""
    letters: tuple[MessageRow, ...] = ()
    more: bool = False
    size: int | None = None
    tasks: Mapping[str, int] = field(default_factory=dict)


def read_dead_letters(context: ReadContext, query: DeadLettersQuery) -> DeadLettersPage:
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    operations = context.operations
    opened = [query.queue] if query.queue else []
    names = sorted({*operations.queues(), *opened})
    dead = {name: sizes.dead for name, sizes in operations.sizes(names).items()}
    queues = [DeadQueue(name=name, dead=number) for name, number in dead.items() if number is None or number]
    queues.sort(key=lambda one: (-(one.dead or 0), one.name))
    queue = query.queue or (queues[0].name if queues else "")
    where = letters_filter(task=query.task, reason=query.reason)
    letters = operations.dead_letters(queue, where, limit=query.limit + 1) if queue else []
    rows = tuple(message_row(one) for one in letters[: query.limit])
    return DeadLettersPage(
        at=context.now(),
        queues=tuple(queues),
        queue=queue,
        task=query.task,
        reason=query.reason,
        letters=rows,
        more=len(letters) > query.limit,
        size=dead.get(queue),
        tasks=dict(Counter(row.task or "(unreadable)" for row in rows).most_common()),
    )


def letters_filter(*, task: str, reason: str) -> DeadLetterFilter | None:
    """The filter of these conditions; None: there are none, so that all dead letters match."""
    if not task and not reason:
        return None
    return DeadLetterFilter(tasks=[task] if task else [], reason=reason)
