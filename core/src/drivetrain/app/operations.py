"""What operators do: read queues, purge them, replay or drop dead letters, rescue lost tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.queue_pauses import pause_queues, paused_queues, resume_queues
from drivetrain.app.queued_tasks import QueuedTask, queued_task
from drivetrain.app.rescue import DEFAULT_OVERDUE_SECONDS, RescueReport, end_tasks, rescue
from drivetrain.app.services import Services
from drivetrain.app.worker_statuses import worker_statuses
from drivetrain.app.workflow_tree import WorkflowTree, read_tree
from drivetrain.contract import (
    Broker,
    Message,
    NotSupported,
    QueueSection,
    QueueSizes,
    SerializationError,
    TaskRecord,
    UnknownResult,
)
from drivetrain.worker.listing import unfinished_tasks
from drivetrain.worker.pauses import Pause
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import BODY_HEADER, workflow_of
from drivetrain.worker.status import WorkerStatus
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import load_invocation

__all__ = ["Operations"]

#: The number of messages that the first call of `peek` asks for.
_PAGE = 1000


class Operations:
    """Queues, dead letters and lost tasks of an app. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def queues(self) -> list[str]:
        """The queues that the broker lists, and those that the app's settings and tasks name; sorted."""
        runtime = self._services.runtime
        named = {definition.defaults.queue for definition in runtime.registry.values()}
        return sorted({*runtime.broker.queues(), *named, *self._services.settings.served_queues})

    def sizes(self, queues: Sequence[str] | None = None) -> Mapping[str, QueueSizes]:
        """The number of messages in each queue; None: in all queues of `queues`."""
        return self._broker.sizes(self.queues() if queues is None else queues)

    def tasks(self, queue: str, section: QueueSection, *, limit: int = 100) -> list[QueuedTask]:
        """Up to ``limit`` messages in a section of a queue, in the order of their delivery."""
        return [self._queued(message) for message in self._broker.peek(queue, section, limit=limit)]

    def unfinished(self, *, limit: int = 100) -> Sequence[TaskRecord]:
        """Up to ``limit`` tasks that have not ended, where the backend can list them."""
        return list(islice(unfinished_tasks(self._services.runtime.backend, page=limit), limit))

    def pause(self, *queues: str, why: str = "", by: str = "") -> None:
        """Pause queues: within two seconds no worker starts a task from them. Running tasks go on; nothing is lost.

        The pause is stored in the backend, and lasts until `resume`. Tasks can be sent to a paused queue.

        Args:
            queues: their names.
            why: a reason, shown to operators.
            by: who pauses them, shown to operators.

        Raises:
            NotSupported: the backend stores nothing.
            ServiceError: the backend could not be reached.
        """
        runtime = self._services.runtime
        pause_queues(runtime.backend, queues, Pause(since=runtime.clock.now(), why=why, by=by))

    def resume(self, *queues: str) -> list[str]:
        """Resume queues; those that were paused. The arguments and errors are those of `pause`."""
        return resume_queues(self._services.runtime.backend, queues)

    def paused(self, queues: Sequence[str] | None = None) -> Mapping[str, Pause]:
        """The paused ones among ``queues``, each with its reason; None: among all queues of `queues`."""
        return paused_queues(self._services.runtime.backend, self.queues() if queues is None else queues)

    def workers(self) -> list[WorkerStatus]:
        """The workers that live, by name: what they serve, run and have done. Each reports every two seconds.

        A worker that died is listed for up to 15 seconds. The list is empty with a backend that stores nothing.

        Raises:
            ServiceError: the backend could not be reached.
        """
        backend = self._services.runtime.backend
        if not backend.capabilities.stores:
            return []
        return sorted(worker_statuses(backend), key=lambda status: status.name)

    def workflow(self, task_id: str, *, limit: int = 100) -> WorkflowTree:
        """The workflow of a task or group, as a tree of its tasks and groups with their states.

        It works while the workflow waits and runs, and after its end, until its records have expired. Expired parts are
        named as such. The backend need not be able to list tasks. A tree of many thousand tasks takes seconds.

        Args:
            task_id: the id of any task or group of the workflow, callbacks included.
            limit: how many members of each group the tree shows: first those that failed, then those that have not
                ended. The others are counted.

        Raises:
            NotSupported: the backend stores nothing.
            UnknownResult: the backend has no record of it.
            SerializationError: a record cannot be read.
            ServiceError: the backend could not be reached.
        """
        services, backend = self._services, self._services.runtime.backend
        if not backend.capabilities.stores:
            raise NotSupported("the tree of a workflow needs a backend that stores results; this app has null://")
        (record,) = services.with_retries("read", lambda: backend.read([task_id]))
        if record is None:
            raise UnknownResult(task_id)
        payloads, decoder = services.runtime.payloads, services.decoder
        return services.with_retries("read", lambda: read_tree(record, backend, payloads, decoder, limit=limit))

    def rescue(self, *, overdue_seconds: float | None = None, dry_run: bool = False) -> RescueReport:
        """Find tasks whose message is gone, and end them as lost. Workers do the same on their own.

        It searches several times, with minutes between the searches, while the result is uncertain.

        Args:
            overdue_seconds: the least time for which tasks must be due; None: the setting ``rescue_after_seconds``.
            dry_run: end no task.

        Raises:
            NotSupported: the backend cannot list tasks.
            ServiceError: a service could not be reached.
        """
        settings = self._services.settings
        if overdue_seconds is None:
            overdue_seconds = settings.rescue_after_seconds or DEFAULT_OVERDUE_SECONDS
        return rescue(self._services.runtime, settings, overdue_seconds=overdue_seconds, dry_run=dry_run)

    def end_lost(self, *task_ids: str) -> RescueReport:
        """End unfinished tasks of which you know that their message is gone; see `drivetrain.app.rescue.end_tasks`."""
        return end_tasks(self._services.runtime, self._services.settings, task_ids)

    def purge(self, queue: str) -> int:
        """Cancel the tasks that wait in ``queue``, delayed tasks included, and drop their messages; how many.

        Callers that wait for these tasks get TaskCancelled at once. Running tasks and dead letters are not touched.
        """
        dropped = 0
        for section in (QueueSection.READY, QueueSection.DELAYED):
            messages = self._cancel_all(queue, section) if self._broker.capabilities.peeks else ()
            dropped += self._broker.purge(queue, section)
            self._drop_bodies(messages)
        return dropped

    def dead_letters(self, queue: str, where: DeadLetterFilter | None = None, *, limit: int = 100) -> list[QueuedTask]:
        """Up to ``limit`` dead letters of ``queue``, oldest first.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
            limit: the largest number.
        """
        if where is None:
            return self.tasks(queue, QueueSection.DEAD, limit=limit)
        return [letter for _, letter in self._chosen(queue, where, set())][:limit]

    def replay(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Run dead letters of ``queue`` again, as if they were sent now; how many.

        Tasks that depend on them wait again. A group that has failed meanwhile stays failed.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
        """
        return self._for_each_page(queue, where or DeadLetterFilter(), self._replay)

    def drop_dead_letters(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Delete dead letters of ``queue``; how many.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
        """
        if where is not None:
            return self._for_each_page(queue, where, self._drop)
        letters = self._all(queue, QueueSection.DEAD)
        dropped = self._broker.purge(queue, QueueSection.DEAD)
        self._drop_bodies(letters)
        return dropped

    @property
    def _broker(self) -> Broker:
        return self._services.runtime.broker

    def _for_each_page(self, queue: str, where: DeadLetterFilter, do: Callable[[str, Sequence[Message]], int]) -> int:
        """Do something with the chosen dead letters; the sum of the counts that it returns.

        In pages, since some brokers show only a part of many dead letters. A letter that is replayed and
        dead-lettered again is not processed a second time.
        """
        counted, seen = 0, set[str]()
        while messages := [message for message, _ in self._chosen(queue, where, seen)]:
            seen.update(message.id for message in messages)
            counted += do(queue, messages)
        return counted

    def _replay(self, queue: str, messages: Sequence[Message]) -> int:
        for message in messages:
            self._reset(message)
        # By id: a letter that arrived after the reset has a finished record, so a worker would drop it.
        return self._broker.replay(queue, [message.id for message in messages])

    def _drop(self, queue: str, messages: Sequence[Message]) -> int:
        dropped = self._broker.drop_dead_letters(queue, [message.id for message in messages])
        self._drop_bodies(messages)
        return dropped

    def _chosen(self, queue: str, where: DeadLetterFilter, seen: AbstractSet[str]) -> list[tuple[Message, QueuedTask]]:
        letters = [(one, self._queued(one)) for one in self._all(queue, QueueSection.DEAD) if one.id not in seen]
        return [(message, letter) for message, letter in letters if where.matches(letter)]

    def _cancel_all(self, queue: str, section: QueueSection) -> Sequence[Message]:
        messages = self._all(queue, section)
        records = self._services.runtime.backend.read([message.id for message in messages])
        self._services.sender.cancel(record.task_id for record in records if record is not None)
        return messages

    def _all(self, queue: str, section: QueueSection) -> Sequence[Message]:
        """All messages in a section. Not by its size, which some brokers do not know."""
        limit = _PAGE
        while len(messages := self._broker.peek(queue, section, limit=limit)) >= limit:
            limit *= 4
        return messages

    def _drop_bodies(self, messages: Sequence[Message]) -> None:
        keys = [key for message in messages if (key := message.headers.get(BODY_HEADER)) is not None]
        self._services.runtime.backend.drop_bodies(keys)

    def _reset(self, message: Message) -> None:
        try:
            invocation = self._read(message)
        except SerializationError:
            return  # it is replayed all the same: a worker with another version may read it
        self._services.sender.reset_for_replay(invocation, workflow=workflow_of(message))

    def _queued(self, message: Message) -> QueuedTask:
        return queued_task(message, self._read)

    def _read(self, message: Message) -> Invocation:
        runtime, key = self._services.runtime, message.headers.get(BODY_HEADER)
        body = message.body if key is None else runtime.backend.load_bodies([key])[0]
        if body is None:
            raise SerializationError(f"the backend no longer has the body of message {message.id}")
        return load_invocation(runtime.payloads.load_body(message.headers.get(CONTENT_TYPE_HEADER), body))
