"""Tasks as queues and workers show them, for states whose tasks the backend does not list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar

from attrs import frozen
from msgspec.structs import replace

from drivetrain.app.bulk.messages import read_invocation
from drivetrain.app.finding import FoundTask, TaskFilter, is_like
from drivetrain.app.queue_names import queue_names
from drivetrain.app.queued_tasks import QueuedTask, queued_task
from drivetrain.app.services import Services
from drivetrain.contract import QueueSection, State, TaskRecord
from drivetrain.worker.worker_statuses import worker_statuses

__all__ = ["Sighted", "Sightings", "in_words"]

#: How many messages of each section of a queue are read.
_PEEKED = 1000

_WAITING = frozenset({State.PENDING, State.RECEIVED, State.RETRY})
_WORDS = {
    State.PENDING: "tasks that wait",
    State.RECEIVED: "tasks that were received",
    State.STARTED: "tasks that run",
    State.RETRY: "tasks that will be tried again",
    State.SUCCESS: "tasks that succeeded",
    State.FAILURE: "tasks that failed",
    State.CANCELLED: "cancelled tasks",
    State.EXPIRED: "expired tasks",
}


def in_words(states: AbstractSet[State]) -> str:
    """What tasks in these states are called."""
    return ", ".join(_WORDS[state] for state in State if state in states)


@frozen
class Sighted:
    """What queues and workers have shown."""

    #: The records of these tasks.
    records: Sequence[TaskRecord] = ()
    #: The tasks of messages, where the backend stores no records.
    tasks: Sequence[FoundTask] = ()
    #: The states in which tasks were looked for, and where: see `SearchReach`.
    states: frozenset[State] = frozenset()
    sources: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class Sightings:
    """Looks at queues and workers. Thread-safe.

    Args:
        services: of the app.
    """

    #: The result of looking at nothing.
    NOTHING: ClassVar[Sighted] = Sighted()

    def __init__(self, services: Services) -> None:
        self._services = services

    def of(self, states: AbstractSet[State], where: TaskFilter) -> Sighted:
        """The tasks in these states, as far as queues and workers show them.

        Args:
            states: the states.
            where: the search. Records are not filtered by it yet, except by its queue.
        """
        runtime = self._services.runtime
        stores, peeks = runtime.backend.capabilities.stores, runtime.broker.capabilities.peeks
        sections = [QueueSection.READY, QueueSection.DELAYED] if peeks and states & _WAITING else []
        if State.FAILURE in states:
            sections.append(QueueSection.DEAD)
        asks_workers = stores and bool(states - _WAITING)
        reached = states & {State.FAILURE, *(_WAITING if peeks else ()), *(set(State) - _WAITING if stores else ())}
        sources = (*(["queues"] if sections else []), *(["workers"] if asks_workers else []))
        queued = list(self._queued(sections, where.queue))
        ids = [*(self._of_workers(states) if asks_workers else ()), *(one.task_id for one, _ in queued)]
        return Sighted(
            records=self._records(states, ids) if stores else (),
            tasks=() if stores else list(_tasks(queued, states, where)),
            states=frozenset(reached),
            sources=sources,
            notices=_notices(states, reached, sources),
        )

    def _of_workers(self, states: AbstractSet[State]) -> Iterator[str]:
        for status in worker_statuses(self._services.runtime.backend):
            if State.STARTED in states:
                yield from (one.task_id for one in status.running)
            yield from (one.task_id for one in status.ended if one.state in states)

    def _queued(self, sections: Sequence[QueueSection], pattern: str) -> Iterator[tuple[QueuedTask, QueueSection]]:
        runtime = self._services.runtime
        if not sections:
            return
        for queue in queue_names(self._services):
            if not is_like(queue, pattern):
                continue
            for section in sections:
                for message in runtime.broker.peek(queue, section, limit=_PEEKED):
                    yield queued_task(message, lambda one: read_invocation(runtime, one)), section

    def _records(self, states: AbstractSet[State], ids: Iterable[str]) -> list[TaskRecord]:
        wanted = list(dict.fromkeys(ids))
        backend = self._services.runtime.backend
        found = self._services.with_retries("read", lambda: backend.read(wanted)) if wanted else []
        return [record for record in found if record is not None and record.state in states]


def _tasks(
    queued: Iterable[tuple[QueuedTask, QueueSection]], states: AbstractSet[State], where: TaskFilter
) -> Iterator[FoundTask]:
    """The tasks of messages that match, as far as a message tells what a record would."""
    for one, section in queued:
        state = State.FAILURE if section is QueueSection.DEAD else State.RETRY if one.attempt else State.PENDING
        record = TaskRecord(task_id=one.task_id, state=state, task=one.task, queue=one.queue, attempt=one.attempt)
        reason = one.reason or ""

        def failure(_record: TaskRecord, text: str = reason) -> str:
            return text

        if state in states and where.matches(record, failure):
            died = None if one.died_at is None else one.died_at.timestamp()
            yield replace(FoundTask.of(record, reason), changed=died)


def _notices(states: AbstractSet[State], reached: AbstractSet[State], sources: Sequence[str]) -> tuple[str, ...]:
    notices = []
    if "queues" in sources:
        notices.append(f"Of each queue, the first {_PEEKED:,} messages were read.")
    if "workers" in sources:
        notices.append("Of each worker, up to 100 tasks that run and the last 20 that ended are known.")
    if missing := states - reached:
        notices.append(f"Not searched: {in_words(missing)}. The backend does not list them; look them up by their ids.")
    return tuple(notices)
