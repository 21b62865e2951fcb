"""The page of queues: what waits in them, whether it moves, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.contract import QueueSection, QueueSizes
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.pauses import Pause
from drivetrain.worker.status import WorkerStatus
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.counts import read_hour
from drivetrain_dashboard.views.diagnosis import diagnosis
from drivetrain_dashboard.views.page import Limit, Page, Query, Text

__all__ = [
    "MessageRow",
    "PauseRow",
    "QueueRow",
    "QueueSectionView",
    "QueuesPage",
    "QueuesQuery",
    "message_row",
    "pause_row",
    "queue_rows",
    "read_queues",
]

#: Over how many minutes the speed of a queue is taken.
_SPEED_MINUTES = 5


class QueuesQuery(Query, frozen=True, kw_only=True):
    """Which queue to open.

    Attributes:
        queue: its name; empty: none.
        limit: how many messages of each of its sections are shown.
    """

    queue: Text = ""
    limit: Limit = 50


class PauseRow(Struct, frozen=True, kw_only=True):
    """A pause.

    Attributes:
        since: since when, in Unix seconds.
        by: who paused it; empty: unknown.
        why: the reason; empty: none.
    """

    since: float
    by: str = ""
    why: str = ""


class QueueRow(Struct, frozen=True, kw_only=True):
    """A queue.

    Attributes:
        name: its name.
        ready, delayed, in_flight, dead: how many messages it has; None: the broker cannot tell.
        oldest_seconds: how long the oldest ready message has been ready; None: the broker cannot tell.
        paused: why it is paused; None: it is not.
        workers: how many workers serve it; None: unknown, because the backend stores nothing.
        slots: how many tasks these workers can run at once, for all their queues.
        running: how many tasks of this queue run, as far as workers name them.
        per_minute: by how many ready messages it grows in a minute, as the dashboard has seen; None: not yet known.
        ended_per_minute: how many of its tasks ended in a minute, over the last five; None: not counted.
        empty_in_seconds: how long it takes at this speed to end all ready tasks; None: unknown, or never.
        diagnosis: why its tasks wait, in one sentence; empty: nothing waits, or nothing is wrong.
    """

    name: str
    ready: int | None = None
    delayed: int | None = None
    in_flight: int | None = None
    dead: int | None = None
    oldest_seconds: float | None = None
    paused: PauseRow | None = None
    workers: int | None = None
    slots: int = 0
    running: int = 0
    per_minute: float | None = None
    ended_per_minute: float | None = None
    empty_in_seconds: float | None = None
    diagnosis: str = ""


class MessageRow(Struct, frozen=True, kw_only=True):
    """A message in a queue. Its arguments are on the page of the task.

    Attributes:
        task_id: the id of the task.
        task: the name of the task; empty: the message cannot be read.
        queue: the queue.
        attempt: the attempt; the first is 0.
        due: when it is due, in Unix seconds; None: at once.
        reason: why it was dead-lettered; empty: it was not.
        died_at: when it was dead-lettered, in Unix seconds.
    """

    task_id: str
    task: str
    queue: str
    attempt: int = 0
    due: float | None = None
    reason: str = ""
    died_at: float | None = None


class QueueSectionView(Struct, frozen=True, kw_only=True):
    """The first messages of a section of a queue.

    Attributes:
        section: ``ready`` or ``delayed``.
        messages: the first messages, in the order of their delivery.
        more: how many further messages there are; None: unknown.
        problem: why the messages cannot be shown; empty: they can.
    """

    section: str
    messages: tuple[MessageRow, ...] = ()
    more: int | None = None
    problem: str = ""


class QueuesPage(Page, frozen=True, kw_only=True):
    """The page of queues.

    Attributes:
        queues: all queues, by name.
        approximate: whether the broker only estimates sizes.
        lists_all: whether the broker lists all queues; otherwise these are the queues of the app.
        opened: the queue that the address names; None: none.
        sections: the first messages of the opened queue.
    """

    queues: tuple[QueueRow, ...] = ()
    approximate: bool = False
    lists_all: bool = True
    opened: QueueRow | None = None
    sections: tuple[QueueSectionView, ...] = ()


def read_queues(context: ReadContext, query: QueuesQuery) -> QueuesPage:
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    rows = queue_rows(context, [query.queue] if query.queue else None)
    opened = next((row for row in rows if row.name == query.queue), None)
    capabilities = context.app.runtime.broker.capabilities
    return QueuesPage(
        at=context.now(),
        queues=rows,
        approximate=not capabilities.exact_sizes,
        lists_all=capabilities.lists_queues,
        opened=opened,
        sections=() if opened is None else tuple(_sections(context, opened, query.limit)),
        notices=() if context.stores else ("The backend stores nothing: workers and pauses are not known.",),
    )


def queue_rows(
    context: ReadContext, more: Sequence[str] | None = None, *, workers: Sequence[WorkerStatus] | None = None
) -> tuple[QueueRow, ...]:
    """All queues of the app and of its workers, by name.

    Args:
        context: of the dashboard.
        more: the names of further queues.
        workers: the workers that live; None: they are read.

    Raises:
        ServiceError: a service could not be reached.
    """
    operations = context.operations
    workers = operations.workers() if workers is None else workers
    names = sorted({*operations.queues(), *(queue for worker in workers for queue in worker.queues), *(more or ())})
    sizes, paused = operations.sizes(names), operations.paused(names)
    context.trends.note_sizes(context.now(), sizes)
    _, hour = read_hour(context)
    speeds = _speeds(hour)
    return tuple(
        _row(
            name,
            sizes[name],
            pause=paused.get(name),
            workers=workers if context.stores else None,
            per_minute=context.trends.per_minute(name),
            speed=speeds.get(name),
        )
        for name in names
    )


def pause_row(pause: Pause | None) -> PauseRow | None:
    """A pause for a page."""
    return None if pause is None else PauseRow(since=pause.since, by=pause.by, why=pause.why)


def message_row(task: QueuedTask) -> MessageRow:
    """A message for a page."""
    return MessageRow(
        task_id=task.task_id,
        task=task.task,
        queue=task.queue,
        attempt=task.attempt,
        due=None if task.eta is None else task.eta.timestamp(),
        reason=task.reason or "",
        died_at=None if task.died_at is None else task.died_at.timestamp(),
    )


def _row(
    name: str,
    sizes: QueueSizes,
    *,
    pause: Pause | None,
    workers: Sequence[WorkerStatus] | None,
    per_minute: float | None,
    speed: float | None,
) -> QueueRow:
    serving = [one for one in workers or () if name in one.queues and not one.stopping]
    row = QueueRow(
        name=name,
        ready=sizes.ready,
        delayed=sizes.delayed,
        in_flight=sizes.in_flight,
        dead=sizes.dead,
        oldest_seconds=sizes.oldest_seconds if sizes.ready else None,
        paused=pause_row(pause),
        workers=None if workers is None else len(serving),
        slots=sum(sum(one.slots.values()) for one in serving),
        running=sum(task.queue == name for one in workers or () for task in one.running),
        per_minute=per_minute,
        ended_per_minute=speed,
        empty_in_seconds=sizes.ready / speed * 60.0 if sizes.ready and speed else None,
    )
    return row if workers is None else _diagnosed(row, serving)


def _diagnosed(row: QueueRow, serving: Sequence[WorkerStatus]) -> QueueRow:
    text = diagnosis(
        ready=row.ready or 0,
        paused=row.paused is not None,
        pause_reason="" if row.paused is None else row.paused.why,
        serving=serving,
        per_minute=row.per_minute,
    )
    return replace(row, diagnosis=text)


def _speeds(hour: CountsOverTime | None) -> Mapping[str, float]:
    """How many tasks ended in a minute, by queue, over the last whole minutes."""
    if hour is None:
        return {}
    points = list(hour.points)[-_SPEED_MINUTES - 1 : -1]
    ended: dict[str, int] = {}
    for point in points:
        for one in point.tasks:
            ended[one.queue] = ended.get(one.queue, 0) + one.counts.ended
    return {queue: number / len(points) for queue, number in ended.items()} if points else {}


def _sections(context: ReadContext, queue: QueueRow, limit: int) -> Sequence[QueueSectionView]:
    if not context.app.runtime.broker.capabilities.peeks:
        problem = "The broker cannot show messages that wait. Only dead letters can be listed."
        return [QueueSectionView(section=section.value, problem=problem) for section in _WAITING]
    return [_section(context, queue, section, limit) for section in _WAITING]


_WAITING = (QueueSection.READY, QueueSection.DELAYED)


def _section(context: ReadContext, queue: QueueRow, section: QueueSection, limit: int) -> QueueSectionView:
    messages = tuple(message_row(one) for one in context.operations.tasks(queue.name, section, limit=limit))
    size: int | None = getattr(queue, section.value)
    return QueueSectionView(
        section=section.value, messages=messages, more=None if size is None else max(0, size - len(messages))
    )
