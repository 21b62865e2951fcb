"""What operators do: read queues, purge them, replay or drop dead letters, rescue lost tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from drivetrain.app.bulk.facade import Bulk
from drivetrain.app.bulk.letters import DeadLetters
from drivetrain.app.bulk.messages import all_messages, read_invocation
from drivetrain.app.bulk.operation_record import Action
from drivetrain.app.bulk.outcomes import TaskOutcome
from drivetrain.app.counts import counts_range, read_counts
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.finding import FoundPage, TaskFilter, since_seconds, states_of
from drivetrain.app.limit_waiting import LimitWaiting, message_waits
from drivetrain.app.queue_names import queue_names
from drivetrain.app.queue_pauses import pause_queues, paused_queues, resume_queues
from drivetrain.app.queued_tasks import QueuedTask, queued_task
from drivetrain.app.rescue import DEFAULT_OVERDUE_SECONDS, RescueReport, end_tasks, rescue
from drivetrain.app.services import Services
from drivetrain.app.task_search import TaskSearch
from drivetrain.app.worker_stopping import stop_workers
from drivetrain.app.workflow_tree import WorkflowTree, read_tree
from drivetrain.contract import (
    Broker,
    ConfigurationError,
    Message,
    NotSupported,
    QueueSection,
    QueueSizes,
    State,
    TaskRecord,
    UnknownResult,
)
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.listing import unfinished_tasks
from drivetrain.worker.pauses import Pause
from drivetrain.worker.status import WorkerStatus
from drivetrain.worker.worker_statuses import worker_statuses

__all__ = ["Operations"]

#: The number of messages that the first call of `peek` asks for.
_PAGE = 1000


class Operations:
    """Queues, dead letters and lost tasks of an app. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def queues(self) -> list[str]:
        """The queues that the broker lists, and those that the app's settings and tasks name; sorted."""
        return queue_names(self._services)

    def sizes(self, queues: Sequence[str] | None = None) -> Mapping[str, QueueSizes]:
        """The number of messages in each queue; None: in all queues of `queues`."""
        return self._broker.sizes(self.queues() if queues is None else queues)

    def tasks(self, queue: str, section: QueueSection, *, limit: int = 100) -> list[QueuedTask]:
        """Up to ``limit`` messages in a section of a queue, in the order of their delivery."""
        messages = self._broker.peek(queue, section, limit=limit)
        limits = message_waits(self._services.runtime, messages) if section is QueueSection.DELAYED else {}
        return [self._queued(message, limits.get(message.id)) for message in messages]

    def find(
        self,
        where: TaskFilter | None = None,
        *,
        state: State | str | Iterable[State | str] | None = None,
        task: str = "",
        queue: str = "",
        worker: str = "",
        workflow: str = "",
        since: datetime | timedelta | float | None = None,
        text: str = "",
        task_id: str = "",
        limit: int = 100,
        cursor: str | None = None,
    ) -> FoundPage:
        """A page of the tasks that match all conditions; a condition that is left out matches every task.

        Tasks come from the backend, as far as it can list them (`drivetrain describe` says how far), those that have
        ended newest first where the driver can do that. For other states, the search looks at the queues, where the
        broker can show them, and at what workers report; `FoundPage.reach` says what was searched. A page may have
        fewer tasks than its limit, or none, although more follow: go on with its cursor.

        Args:
            where: all conditions in one value; None: those below.
            state: one state or several, by name or as `State`.
            task: the name of the task; ``*`` stands for any text.
            queue: the queue; ``*`` stands for any text.
            worker: the worker that started it last; ``*`` stands for any text.
            workflow: the id of the first task or group of the workflow.
            since: its state changed then or later: a time with a time zone, Unix seconds, or how long ago.
            text: a part of the id, the name or the message of the failure, in upper or lower case.
            task_id: the id. It is looked up, whatever the backend can list.
            limit: how many tasks the page may have, 1 to 1000.
            cursor: `FoundPage.cursor` of the previous page of the same search; None: the first page.

        Raises:
            ConfigurationError: a condition, the limit or the cursor is wrong.
            NotSupported: neither backend nor queues nor workers show tasks in these states.
            ServiceError: a service could not be reached.
        """
        conditions = TaskFilter(
            states=states_of(state),
            task=task,
            queue=queue,
            worker=worker,
            workflow=workflow,
            since=since_seconds(since, self._services.runtime.clock.now()),
            text=text,
            task_id=task_id,
        )
        if where is not None and conditions != TaskFilter():
            raise ConfigurationError("find has both `where` and other conditions; put all of them into one of the two")
        return TaskSearch(self._services).find(where or conditions, limit=limit, cursor=cursor)

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

    def stop_workers(self, *names: str, why: str = "", by: str = "") -> list[WorkerStatus]:
        """Ask workers to stop, as SIGTERM does: running tasks end in the grace period, and the others are released.

        Their supervisor starts no others in their place. They obey within two seconds; their statuses say so, and who
        has asked.

        Args:
            names: their names, as `workers` lists them. A later worker of such a name does not stop.
            why: a reason, shown to operators.
            by: who stops them, shown to operators.

        Returns:
            Their statuses before they stop.

        Raises:
            NotSupported: the backend stores nothing.
            UnknownWorker: no living worker has one of these names; then none is asked.
            ServiceError: the backend could not be reached.
        """
        runtime = self._services.runtime
        return stop_workers(runtime.backend, names, now=runtime.clock.now(), why=why, by=by)

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

    def counts(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        task: str | None = None,
        queue: str | None = None,
        step: timedelta | None = None,
    ) -> CountsOverTime:
        """What workers have done with tasks in a range of time, and how long tasks ran and waited.

        Workers count by their own clocks, and report every five seconds. Counts are kept for the setting
        ``counts_retention_seconds``: by minute for three hours, by ten minutes for two days, and by hour after that.

        Args:
            since: the start of the range, with a time zone; None: an hour ago.
            until: the end of the range, with a time zone; None: now.
            task: the name of a task; "": names that no worker knows. None: all tasks.
            queue: the name of a queue; None: all queues.
            step: the length of a step. A longer one is used where no shorter one is kept for this range. None: the
                shortest.

        Raises:
            ConfigurationError: a time has no time zone, or ``since`` is not before ``until``.
            NotSupported: the backend stores nothing, or ``counts_retention_seconds`` is 0.
            ServiceError: the backend could not be reached.
        """
        runtime, retention = self._services.runtime, self._services.settings.counts_retention_seconds
        if not runtime.backend.capabilities.stores:
            raise NotSupported("counts over time need a backend that stores results; this app's backend is null://")
        within = counts_range(retention, runtime.clock.now(), since=since, until=until, step=step)
        return read_counts(
            runtime.backend,
            within,
            lambda one: (task is None or one.task == task) and (queue is None or one.queue == queue),
        )

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

    @property
    def bulk(self) -> Bulk:
        """Acts on many tasks in the background: cancel, retry, run now, replay, drop."""
        return Bulk(self._services)

    def retry(self, *task_ids: str, by: str = "", why: str = "") -> list[TaskOutcome]:
        """Run tasks again that have failed, have expired or were cancelled; the outcome of each, in order.

        Each runs as a new attempt of the same id, at once and without an expiry. What waited for it waits again: the
        rest of its chain, its group and what follows the group, the handles. All failed members of its group are
        retried together, since the group needs all of them. Error callbacks run again if the new attempt fails.

        A task cannot be retried if its arguments are no longer stored (the setting ``keep_failed``, or its dead
        letter), or while members of its group still run. A group that collects failures has gone on: its member runs
        again by itself.

        Args:
            task_ids: the tasks.
            by: who asks for it, for the audit.
            why: the reason, for the audit.

        Raises:
            NotSupported: the backend stores nothing.
            ServiceError: a service could not be reached; the call may be repeated.
        """
        return self.bulk.act(Action.RETRY, task_ids, by=by, why=why)

    def run_now(self, *task_ids: str, by: str = "", why: str = "") -> list[TaskOutcome]:
        """Make delayed tasks, and tasks that wait for their next attempt, due now; the outcome of each, in order.

        The delayed message stays with the broker until its time, and is dropped then. The arguments and errors are
        those of `retry`. NotSupported also: the broker cannot show delayed messages.
        """
        return self.bulk.act(Action.RUN_NOW, task_ids, by=by, why=why)

    def purge(self, queue: str) -> int:
        """Cancel the tasks that wait in ``queue``, delayed tasks included, and drop their messages; how many.

        Callers that wait for these tasks get TaskCancelled at once. Running tasks and dead letters are not touched.
        """
        dropped = 0
        for section in (QueueSection.READY, QueueSection.DELAYED):
            messages = self._cancel_all(queue, section) if self._broker.capabilities.peeks else ()
            dropped += self._broker.purge(queue, section)
            self._letters.drop_bodies(messages)
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
        return [self._queued(one) for one in islice(self._letters.chosen(queue, where), limit)]

    def replay(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Run dead letters of ``queue`` again, as if they were sent now; how many.

        Tasks that depend on them wait again. A group that has failed meanwhile stays failed.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
        """
        return self._for_each_page(queue, where or DeadLetterFilter(), self._letters.replay)

    def drop_dead_letters(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Delete dead letters of ``queue``; how many.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
        """
        if where is not None:
            return self._for_each_page(queue, where, self._letters.drop)
        letters = all_messages(self._services.runtime, queue, QueueSection.DEAD)
        dropped = self._broker.purge(queue, QueueSection.DEAD)
        self._letters.drop_bodies(letters)
        return dropped

    @property
    def _broker(self) -> Broker:
        return self._services.runtime.broker

    @property
    def _letters(self) -> DeadLetters:
        return DeadLetters(self._services.runtime, self._services.sender)

    def _for_each_page(self, queue: str, where: DeadLetterFilter, do: Callable[[str, Sequence[Message]], int]) -> int:
        """Do something with the chosen dead letters; the sum of the counts that it returns.

        In pages, since some brokers show only a part of many dead letters. A letter that is replayed and
        dead-lettered again is not processed a second time.
        """
        counted, seen = 0, set[str]()
        while messages := [one for one in self._letters.chosen(queue, where) if one.id not in seen]:
            seen.update(message.id for message in messages)
            counted += do(queue, messages)
        return counted

    def _cancel_all(self, queue: str, section: QueueSection) -> Sequence[Message]:
        messages = all_messages(self._services.runtime, queue, section)
        records = self._services.runtime.backend.read([message.id for message in messages])
        self._services.sender.cancel(record.task_id for record in records if record is not None)
        return messages

    def _queued(self, message: Message, limit: LimitWaiting | None = None) -> QueuedTask:
        runtime = self._services.runtime
        return queued_task(message, lambda one: read_invocation(runtime, one), limit=limit)
