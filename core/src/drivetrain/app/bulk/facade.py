"""What operators do with many tasks: ``app.operations.bulk``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from drivetrain.app.bulk.letter_filters import described, letter_filter, plain_filter
from drivetrain.app.bulk.messages import MessageSearch
from drivetrain.app.bulk.operation import Operation
from drivetrain.app.bulk.operation_record import Action, AuditEntry, OperationRecord, OperationState, Target
from drivetrain.app.bulk.operation_store import OperationStore
from drivetrain.app.bulk.outcomes import TaskOutcome
from drivetrain.app.bulk.run_now import check_run_now
from drivetrain.app.bulk.runner import OperationRunner, audit_entry, counted
from drivetrain.app.bulk.selections import Count, FilterSelection, IdSelection, Selection, described_filter, with_states
from drivetrain.app.bulk.work import LetterWork, TaskWork, Work
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.finding import FoundPage, TaskFilter
from drivetrain.app.ids import new_id
from drivetrain.app.queue_names import queue_names
from drivetrain.app.services import Services
from drivetrain.app.task_search import TaskSearch
from drivetrain.contract import ConfigurationError, NotSupported
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import worker_name

__all__ = ["Bulk"]

logger = get_logger("drivetrain.operations")

#: How many ids the description of an operation names.
_MOST_NAMED = 3


class Bulk:
    """Acts on many tasks in the background. Thread-safe.

    Each method that begins an operation stores it, and returns its handle at once. A worker of the app takes it up
    within two seconds; ``operation.run()`` runs it in the calling thread instead. It survives the death of any process.

    An operation never acts on a task twice in a harmful way. It skips tasks that are in another state.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def cancel(self, *task_ids: str, where: TaskFilter | None = None, by: str = "", why: str = "") -> Operation:
        """Cancel tasks that have not ended, with all that waits for them.

        Args:
            task_ids: the tasks; or
            where: a filter that chooses them, among the tasks that `Operations.find` finds now. If it names no state,
                these are the states on which the action acts.
            by: who asks for it, shown to operators.
            why: the reason, shown to operators.

        Raises:
            ConfigurationError: neither ids nor a filter are given, or both are.
            NotSupported: the backend stores nothing, or tasks in these states cannot be found.
            ServiceError: a service could not be reached.
        """
        return self._begin(Action.CANCEL, task_ids, where, by=by, why=why)

    def retry(self, *task_ids: str, where: TaskFilter | None = None, by: str = "", why: str = "") -> Operation:
        """Run tasks again that have failed, have expired or were cancelled; see `Operations.retry`.

        A filter that names no state chooses those that have failed or expired. The arguments and errors are those of
        `cancel`.
        """
        return self._begin(Action.RETRY, task_ids, where, by=by, why=why)

    def run_now(self, *task_ids: str, where: TaskFilter | None = None, by: str = "", why: str = "") -> Operation:
        """Make delayed tasks, and tasks that wait for their next attempt, due now.

        The arguments and errors are those of `cancel`. NotSupported also: the broker cannot show delayed messages.
        """
        check_run_now(self._services.runtime)
        return self._begin(Action.RUN_NOW, task_ids, where, by=by, why=why)

    def replay(self, queue: str, where: DeadLetterFilter | None = None, *, by: str = "", why: str = "") -> Operation:
        """Run dead letters of a queue again, as if they were sent now; see `Operations.replay`.

        Args:
            queue: the queue.
            where: chooses dead letters; None: all.
            by: who asks for it, shown to operators.
            why: the reason, shown to operators.

        Raises:
            NotSupported: the backend stores nothing.
            ServiceError: the backend could not be reached.
        """
        return self._begin_letters(Action.REPLAY, queue, where, by=by, why=why)

    def drop(self, queue: str, where: DeadLetterFilter | None = None, *, by: str = "", why: str = "") -> Operation:
        """Delete dead letters of a queue. The arguments and errors are those of `replay`."""
        return self._begin_letters(Action.DROP, queue, where, by=by, why=why)

    def act(self, action: Action, task_ids: Sequence[str], *, by: str, why: str) -> list[TaskOutcome]:
        """Cancel, retry or run now a few tasks in this thread; the outcome of each, in order.

        Raises:
            NotSupported: the drivers lack what it needs.
            ServiceError: a service could not be reached; the call may be repeated.
        """
        chosen = list(dict.fromkeys(task_ids))
        record = self._record(action, _named(chosen), by=by, why=why)
        outcomes = self._task_work(action, IdSelection(self._store, record.id, 0)).act(
            [Target(one) for one in chosen], again=False
        )
        entry = audit_entry(counted(replace(record, state=OperationState.DONE), outcomes))
        self._store.write_audit(entry)
        text = "%s %s: %d done, %d skipped, %d failed; asked for by %s"
        logger.info(text, action, entry.selection, entry.done, entry.skipped, entry.failed, by or "(unknown)")
        return outcomes

    def get(self, operation_id: str) -> Operation:
        """The handle of an operation, in any process."""
        runtime = self._services.runtime
        return Operation(operation_id, self._store, self.runner(), runtime.clock)

    def recent(self) -> list[OperationRecord]:
        """The operations that have not ended, and those that ended within a day; the newest first."""
        return sorted(self._store.all(), key=lambda one: one.created, reverse=True)

    def audit(self) -> list[AuditEntry]:
        """The actions of operators in the last 90 days: by whom, when, what, how many tasks; the newest first."""
        return sorted(self._store.audit(), key=lambda one: one.at, reverse=True)

    # For workers

    def active(self) -> Iterator[str]:
        """The ids of the operations that have not ended."""
        return (one.id for one in self._store.active())

    def runner(self, name: str = "") -> OperationRunner:
        """What runs operations in this process; ``name``: of the process."""
        return OperationRunner(self._services.runtime, self._store, work=self._work, name=name or worker_name())

    # Beginning

    @property
    def _store(self) -> OperationStore:
        return OperationStore(self._services.runtime, self._services.sender.retrier)

    def _begin(
        self, action: Action, task_ids: Sequence[str], where: TaskFilter | None, *, by: str, why: str
    ) -> Operation:
        chosen = list(dict.fromkeys(task_ids))
        if bool(chosen) == (where is not None):
            raise ConfigurationError(f"to {action}, give either the ids of tasks or a filter (where=…)")
        if where is None:
            record = self._record(action, _named(chosen), by=by, why=why)
            return self._store_new(replace(record, ids=len(chosen)), chosen)
        where = with_states(action, where)
        record = self._record(action, described_filter(where), by=by, why=why)
        self._find(where, 1, None)  # refuses what cannot be found
        return self._store_new(replace(record, where=msgspec.to_builtins(where)), [])

    def count(self, action: Action, where: TaskFilter) -> Count:
        """How many tasks an action would choose by a filter.

        Raises:
            NotSupported: tasks in these states cannot be found.
            ServiceError: a service could not be reached.
        """
        now = self._services.runtime.clock.now()
        return FilterSelection(self._find, with_states(action, where), asked_at=now).total()

    def _find(self, where: TaskFilter, limit: int, cursor: str | None) -> FoundPage:
        return TaskSearch(self._services).find(where, limit=limit, cursor=cursor)

    def _begin_letters(
        self, action: Action, queue: str, where: DeadLetterFilter | None, *, by: str, why: str
    ) -> Operation:
        chosen = where or DeadLetterFilter()
        record = self._record(action, f"dead letters of {queue}{described(chosen)}", by=by, why=why)
        return self._store_new(replace(record, queue=queue, where=plain_filter(chosen)), [])

    def _record(self, action: Action, selection: str, *, by: str, why: str) -> OperationRecord:
        runtime = self._services.runtime
        if not runtime.backend.capabilities.stores:
            raise NotSupported(
                "acting on many tasks needs a backend that stores results, and this app's backend is null://"
            )
        return OperationRecord(
            id=new_id(), action=action, selection=selection, by=by, why=why, created=runtime.clock.now()
        )

    def _store_new(self, record: OperationRecord, task_ids: Sequence[str]) -> Operation:
        store = self._store
        store.write_audit(audit_entry(record))
        store.create(record, task_ids)
        why = f" ({record.why})" if record.why else ""
        text = "operation %s: %s %s, asked for by %s%s"
        logger.info(text, record.id, record.action, record.selection, record.by or "(unknown)", why)
        return self.get(record.id)

    def _work(self, record: OperationRecord) -> Work:
        services = self._services
        runtime, sender = services.runtime, services.sender
        if record.action in {Action.REPLAY, Action.DROP}:
            where = letter_filter(record.where or {}, asked_at=record.created)
            return LetterWork(runtime, sender, record.action, record.queue, where)
        if record.where is None:
            return self._task_work(record.action, IdSelection(self._store, record.id, record.ids))
        chosen = msgspec.convert(record.where, TaskFilter)
        return self._task_work(record.action, FilterSelection(self._find, chosen, asked_at=record.created))

    def _task_work(self, action: Action, selection: Selection) -> TaskWork:
        services = self._services
        messages = MessageSearch(services.runtime, lambda: queue_names(services))
        return TaskWork(services.runtime, services.sender, action, selection, messages)


def _named(task_ids: Sequence[str]) -> str:
    named = ", ".join(task_ids[:_MOST_NAMED])
    more = len(task_ids) - _MOST_NAMED
    return f"task {named}" if len(task_ids) == 1 else f"tasks {named}{f' and {more} more' if more > 0 else ''}"
