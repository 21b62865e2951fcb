"""The runner of operations: acts page by page, and stores the progress after each page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import AuditEntry, OperationRecord, OperationState, Reason
from drivetrain.app.bulk.operation_store import OperationStore, StoredOperation, TakenOver
from drivetrain.app.bulk.outcomes import TaskOutcome, Verdict
from drivetrain.app.bulk.work import Work
from drivetrain.contract import DrivetrainError, ServiceError
from drivetrain.worker.logs import get_logger
from drivetrain.worker.retrying import GaveUp
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_lock import ValueLock

__all__ = ["OperationRunner", "audit_entry", "counted"]

logger = get_logger("drivetrain.operations")

#: How long a process that has died keeps others from going on with its operation, in seconds.
_LEASE_SECONDS = 30.0
#: How many skipped tasks, and how many failed ones, an operation remembers.
_MOST_REASONS = 20


@define
class _Held:
    """The operation that a runner holds, as it is stored."""

    stored: StoredOperation
    work: Work

    @property
    def record(self) -> OperationRecord:
        return self.stored.record


class OperationRunner:
    """Runs operations. One process at a time runs an operation; when it dies, another one goes on. Thread-safe.

    Args:
        runtime: the drivers of the app.
        store: stores the operations.
        work: makes the work of an operation.
        name: the name of this process.
    """

    def __init__(
        self, runtime: Runtime, store: OperationStore, *, work: Callable[[OperationRecord], Work], name: str
    ) -> None:
        self._runtime = runtime
        self._store = store
        self._work = work
        self._name = name

    def run(
        self,
        operation_id: str,
        *,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[OperationRecord], object] = lambda _: None,
    ) -> bool:
        """Run an operation to its end, unless another process runs it; whether it has ended.

        Args:
            operation_id: its id.
            stopped: whether this process stops; then another process goes on.
            report: called with its record after each page.

        Raises:
            ServiceError: a service could not be reached; another process may go on.
        """
        lock = ValueLock(lambda: self._runtime.backend, f"drivetrain.operations/{operation_id}", seconds=_LEASE_SECONDS)
        if not lock.acquire():
            return False
        try:
            return self._run(operation_id, lock, stopped, report)
        except TakenOver:
            logger.info("operation %s: another process has taken it over", operation_id)
            return False
        finally:
            lock.release()

    def _run(
        self,
        operation_id: str,
        lock: ValueLock,
        stopped: Callable[[], bool],
        report: Callable[[OperationRecord], object],
    ) -> bool:
        stored = self._store.read(operation_id)
        if stored is None or stored.settled:
            return True
        held = _Held(stored, self._work(stored.record))
        if held.record.state.ended:
            self._end(held, held.record)  # its process died before it had finished that
            return True
        try:
            again = self._begin(held)
            while not self._ended(held):
                report(held.record)
                if stopped() or not lock.renew():
                    return False
                self._act(held, again=again)
                again = False
        except (TakenOver, GaveUp, ServiceError):
            raise
        except Exception as error:  # noqa: BLE001 - a driver or a task's type may raise anything; the operation ends with it
            self._fail(held, error)
        report(held.record)
        return True

    def _begin(self, held: _Held) -> bool:
        """Take the operation over; whether another process may have acted on the tasks of the present page."""
        record, now = held.record, self._runtime.clock.now()
        changes = {"runner": self._name, "state": OperationState.RUNNING, "began": record.began or now}
        if record.total is None and not record.stop:
            count = held.work.total()
            changes |= {"total": count.number, "exact": count.exact, "notices": count.notices}
        held.stored = self._store.update(held.stored, replace(record, **changes))
        if record.runner:
            logger.warning("operation %s: taken over from %s, which has stopped", record.id, record.runner)
        else:
            logger.debug("operation %s begins", record.id)
        return bool(record.pending)

    def _ended(self, held: _Held) -> bool:
        record = held.record
        if record.stop:
            self._end(held, self._as_ended(record, OperationState.STOPPED))
        elif record.cursor is None and not record.pending:
            self._end(held, self._as_ended(record, OperationState.DONE))
        return held.record.state.ended

    def _act(self, held: _Held, *, again: bool) -> None:
        """Act on one page. Its tasks are stored first, so that no other process acts on them as if they were new."""
        if not held.record.pending:
            page = held.work.page(held.record.cursor or "")
            held.stored = self._store.update(
                held.stored, replace(held.record, pending=page.targets, cursor=page.cursor)
            )
        if held.record.stop:
            return
        outcomes = held.work.act(held.record.pending, again=again) if held.record.pending else []
        held.stored = self._store.update(held.stored, replace(counted(held.record, outcomes), pending=()))

    def _fail(self, held: _Held, error: Exception) -> None:
        record = held.record
        expected = isinstance(error, DrivetrainError)
        logger.error("operation %s has failed: %s", record.id, error, exc_info=None if expected else error)
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        self._end(held, replace(self._as_ended(record, OperationState.FAILED), error=text))

    def _as_ended(self, record: OperationRecord, state: OperationState) -> OperationRecord:
        return replace(record, state=state, ended=self._runtime.clock.now(), pending=())

    def _end(self, held: _Held, record: OperationRecord) -> None:
        self._store.end(held.stored, record)
        held.stored = StoredOperation(record, held.stored.version)
        self._store.write_audit(audit_entry(record))
        counts = (record.done, record.skipped, record.failed)
        text = "operation %s: %s %s: %d done, %d skipped, %d failed"
        logger.info(text, record.id, record.action, record.state, *counts)


def audit_entry(record: OperationRecord) -> AuditEntry:
    """The audit entry of an operation. Pure."""
    return AuditEntry(
        operation=record.id,
        at=record.created,
        by=record.by,
        action=record.action,
        selection=record.selection,
        why=record.why,
        state=record.state,
        done=record.done,
        skipped=record.skipped,
        failed=record.failed,
    )


def counted(record: OperationRecord, outcomes: Sequence[TaskOutcome]) -> OperationRecord:
    """The record after its tasks have these outcomes. Pure."""
    counts = Counter(one.verdict for one in outcomes)
    return replace(
        record,
        done=record.done + counts[Verdict.DONE],
        skipped=record.skipped + counts[Verdict.SKIPPED],
        failed=record.failed + counts[Verdict.FAILED],
        skips=_first((*record.skips, *_reasons(outcomes, Verdict.SKIPPED))),
        errors=_first((*record.errors, *_reasons(outcomes, Verdict.FAILED))),
    )


def _reasons(outcomes: Sequence[TaskOutcome], verdict: Verdict) -> tuple[Reason, ...]:
    return tuple(Reason(one.task_id, one.reason) for one in outcomes if one.verdict is verdict)


def _first(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    return reasons[:_MOST_REASONS]
