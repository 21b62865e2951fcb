"""What needs the attention of an operator: dead workers, stuck queues, failing tasks, late schedules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from drivetrain.app.shown_schedules import Schedule
from drivetrain.worker.status import WorkerStatus
from drivetrain_dashboard.views.counts import Counted
from drivetrain_dashboard.views.diagnosis import GROWS_PER_MINUTE
from drivetrain_dashboard.views.queues import QueueRow
from drivetrain_dashboard.views.trends import GoneWorker
from drivetrain_dashboard.views.words import joined_words

__all__ = ["SILENT_SECONDS", "Attention", "attention"]

#: A worker reports every two seconds. One that is silent for this long is late.
SILENT_SECONDS = 7.0
#: How long a ready message may wait, and a schedule may be late, in seconds.
_OLD_SECONDS, _LATE_SECONDS = 60.0, 60.0
#: From which share of failures, and how many of them, a task is said to fail.
_FAILED_SHARE, _FAILED_LEAST = 0.05, 3
#: How many items of a kind are shown at most.
_MOST = 10


class Attention(Struct, frozen=True, kw_only=True):
    """One thing that needs attention.

    Attributes:
        kind: ``worker``, ``queue``, ``task``, ``schedule`` or ``dead letters``.
        urgent: whether tasks do not run, or fail, because of it.
        text: what is wrong, in one sentence.
        page: the name of the page that shows it.
        parameters: the parameters of that page.
    """

    kind: str
    urgent: bool
    text: str
    page: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def attention(
    *,
    now: float,
    queues: Iterable[QueueRow],
    workers: Iterable[WorkerStatus],
    gone: Iterable[GoneWorker],
    tasks: Iterable[Counted],
    schedules: Iterable[Schedule],
) -> tuple[Attention, ...]:
    """What needs attention, the urgent first.

    Args:
        now: the time, in Unix seconds.
        queues: all queues.
        workers: the workers that live.
        gone: the workers that have died.
        tasks: what became of the tasks of each name in the last hour.
        schedules: all schedules, each with its next tick.
    """
    kinds: Sequence[Iterator[Attention]] = (
        _of_gone(gone, now),
        _of_workers(workers, now),
        _of_queues(queues),
        _of_tasks(tasks),
        _of_schedules(schedules, now),
        _of_dead_letters(queues),
    )
    found = [one for kind in kinds for one in _first(kind)]
    return tuple(sorted(found, key=lambda one: not one.urgent))


def _first(kind: Iterator[Attention]) -> list[Attention]:
    """The first items of a kind, the urgent before the others."""
    return sorted(kind, key=lambda one: not one.urgent)[:_MOST]


def _of_gone(gone: Iterable[GoneWorker], now: float) -> Iterator[Attention]:
    for one in gone:
        ran = f" Tasks that it ran, which other workers take over: {one.running}." if one.running else ""
        text = f"Worker {one.name} has died: its last report is {_age(now - one.reported)} old.{ran}"
        yield Attention(kind="worker", urgent=True, text=text, page="workers")


def _of_workers(workers: Iterable[WorkerStatus], now: float) -> Iterator[Attention]:
    for one in workers:
        silent = now - one.reported
        if silent >= SILENT_SECONDS:
            text = f"Worker {one.name} has not reported for {_age(silent)}: it has died, or its machine is overloaded."
            yield Attention(kind="worker", urgent=True, text=text, page="workers")
        elif one.blocked:
            text = f"Worker {one.name} is blocked: {one.blocked}."
            yield Attention(kind="worker", urgent=True, text=text, page="workers")


def _of_queues(queues: Iterable[QueueRow]) -> Iterator[Attention]:
    for one in queues:
        reason, urgent = _stuck(one)
        if reason:
            to = {"queue": one.name}
            yield Attention(
                kind="queue", urgent=urgent, text=f"Queue {one.name}: {reason}", page="queues", parameters=to
            )


def _stuck(queue: QueueRow) -> tuple[str, bool]:
    """Why a queue needs attention, and whether that is urgent; empty: it does not."""
    waiting = (queue.ready or 0) + (queue.delayed or 0)
    wait = "1 task waits" if waiting == 1 else f"{waiting:,} tasks wait"
    ready = "1 task is ready" if queue.ready == 1 else f"{queue.ready or 0:,} tasks are ready"
    if queue.paused is not None:
        return f"{wait}. {queue.diagnosis or 'It is paused.'}", False
    if queue.workers == 0 and waiting:
        return f"{wait}. No worker serves it.", True
    if queue.oldest_seconds is not None and queue.oldest_seconds >= _OLD_SECONDS and queue.ready:
        return f"{ready}, the oldest for {_age(queue.oldest_seconds)}. {queue.diagnosis}".rstrip(), True
    if queue.per_minute is not None and queue.per_minute >= GROWS_PER_MINUTE and queue.diagnosis:
        return f"{ready}. {queue.diagnosis}", False
    return "", False


def _of_tasks(tasks: Iterable[Counted]) -> Iterator[Attention]:
    for one in tasks:
        name = one.name or "(unknown)"
        to = {"q": joined_words(state="failed", task=one.name)}
        if one.failed >= _FAILED_LEAST and one.failed_share >= _FAILED_SHARE:
            text = f"Task {name}: {one.failed:,} of {one.succeeded + one.failed:,} failed in the last hour."
            yield Attention(kind="task", urgent=True, text=text, page="tasks", parameters=to)
        elif one.lease_lost:
            text = f"Task {name}: workers lost {one.lease_lost:,} runs of it to other workers in the last hour."
            yield Attention(kind="task", urgent=False, text=text, page="workers")


def _of_schedules(schedules: Iterable[Schedule], now: float) -> Iterator[Attention]:
    for one in schedules:
        to = {"schedule": one.id}
        late = now - one.next[0].timestamp() if one.state == "active" and one.next else 0.0
        if one.problem:
            text = f"Schedule {one.id}: {one.problem}."
        elif late >= _LATE_SECONDS:
            text = f"Schedule {one.id} is {_age(late)} late: no scheduler runs, or it cannot send."
        elif one.state == "orphaned":
            text = f"Schedule {one.id} does not tick: code does not declare it any more."
        elif one.failures:
            text = f"Schedule {one.id}: its last {one.failures:,} workflows failed."
        else:
            continue
        urgent = one.state not in {"orphaned", "paused"}
        yield Attention(kind="schedule", urgent=urgent, text=text, page="schedules", parameters=to)


def _of_dead_letters(queues: Iterable[QueueRow]) -> Iterator[Attention]:
    for one in queues:
        if one.dead:
            letters = "1 dead letter" if one.dead == 1 else f"{one.dead:,} dead letters"
            to = {"queue": one.name}
            text = f"Queue {one.name} has {letters}."
            yield Attention(kind="dead letters", urgent=False, text=text, page="dead_letters", parameters=to)


def _age(seconds: float) -> str:
    """A length of time in words."""
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
