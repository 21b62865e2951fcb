"""The pages of operations: actions on many tasks, their progress, and who did what."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import AuditEntry, OperationRecord, Reason
from drivetrain.contract import UnknownResult
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Id, Page, Query

__all__ = [
    "AuditRow",
    "OperationPage",
    "OperationQuery",
    "OperationRow",
    "OperationsPage",
    "OperationsQuery",
    "ReasonRow",
    "read_operation",
    "read_operations",
]

#: How many entries of the audit are shown.
_MOST_AUDITED = 100


class OperationsQuery(Query, frozen=True, kw_only=True):
    """The page of operations has no parameters."""


class OperationQuery(Query, frozen=True, kw_only=True):
    """Which operation to show.

    Attributes:
        id: its id.
    """

    id: Id


class ReasonRow(Struct, frozen=True, kw_only=True):
    """Why an operation has not acted on a task.

    Attributes:
        task_id: the id of the task.
        text: the reason.
    """

    task_id: str
    text: str


class OperationRow(Struct, frozen=True, kw_only=True):
    """An operation on many tasks. Times are Unix seconds.

    Attributes:
        id: its id.
        action: ``cancel``, ``retry``, ``run-now``, ``replay`` or ``drop``.
        selection: the chosen tasks, in words.
        state: ``waiting``, ``running``, ``done``, ``stopped`` or ``failed``.
        ended: whether it acts on no more tasks.
        by: who asked for it; empty: unknown.
        why: the reason that was given; empty: none.
        created: when it was asked for.
        ended_at: when it ended; None: it has not.
        done: on how many tasks it has acted.
        skipped: how many tasks needed nothing.
        failed: on how many tasks it could not act.
        processed: how many tasks are behind it.
        total: how many tasks were chosen; None: not counted yet.
        exact: whether ``total`` is exact; otherwise it is the least number (``≥``).
        stopping: whether it was asked to stop.
        stopped_by: who has stopped it; empty: unknown, or nobody.
        error: why it failed; empty: it has not.
        notices: what the search for the tasks may have missed.
        errors: the first tasks on which it could not act.
        skips: the first tasks that needed nothing.
    """

    id: str
    action: str
    selection: str
    state: str
    ended: bool
    by: str = ""
    why: str = ""
    created: float
    ended_at: float | None = None
    done: int = 0
    skipped: int = 0
    failed: int = 0
    processed: int = 0
    total: int | None = None
    exact: bool = True
    stopping: bool = False
    stopped_by: str = ""
    error: str = ""
    notices: tuple[str, ...] = ()
    errors: tuple[ReasonRow, ...] = ()
    skips: tuple[ReasonRow, ...] = ()


class AuditRow(Struct, frozen=True, kw_only=True):
    """What an operator did.

    Attributes:
        operation: the id of the operation, or of the action on single tasks.
        at: when it was asked for, in Unix seconds.
        by: who asked for it; empty: unknown.
        action: what was done with each task.
        selection: the chosen tasks, in words.
        why: the reason that was given; empty: none.
        state: its state; ``running`` until its end is recorded.
        done, skipped, failed: see `OperationRow`.
    """

    operation: str
    at: float
    by: str
    action: str
    selection: str
    why: str = ""
    state: str
    done: int = 0
    skipped: int = 0
    failed: int = 0


class OperationsPage(Page, frozen=True, kw_only=True):
    """The page of operations.

    Attributes:
        operations: the operations that have not ended, and those that ended within a day; the newest first.
        audit: what operators did in the last 90 days, the newest first; the first ones.
        more_audit: how many further entries there are.
    """

    operations: tuple[OperationRow, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    more_audit: int = 0


class OperationPage(Page, frozen=True, kw_only=True):
    """The page of one operation.

    Attributes:
        id: the id that was asked for.
        operation: the operation; None: it is unknown, or has ended more than a day ago.
    """

    id: str
    operation: OperationRow | None = None


def read_operations(context: ReadContext, query: OperationsQuery) -> OperationsPage:  # noqa: ARG001 - as every reader
    """Read the page of all operations.

    Raises:
        ServiceError: a service could not be reached.
    """
    if not context.stores:
        return OperationsPage(at=context.now(), problem=_STORES_NOTHING)
    bulk = context.operations.bulk
    audit = bulk.audit()
    return OperationsPage(
        at=context.now(),
        operations=tuple(map(operation_row, bulk.recent())),
        audit=tuple(map(_audit_row, audit[:_MOST_AUDITED])),
        more_audit=max(0, len(audit) - _MOST_AUDITED),
    )


def read_operation(context: ReadContext, query: OperationQuery) -> OperationPage:
    """Read the page of one operation. One that is unknown has a page that says so.

    Raises:
        ServiceError: a service could not be reached.
    """
    page = OperationPage(at=context.now(), id=query.id)
    if not context.stores:
        return replace(page, problem=_STORES_NOTHING)
    try:
        return replace(page, operation=operation_row(context.operations.bulk.get(query.id).record()))
    except UnknownResult as error:
        return replace(page, problem=str(error))


_STORES_NOTHING = "The backend stores nothing, so it stores no operations."


def operation_row(record: OperationRecord) -> OperationRow:
    """An operation for a page."""
    return OperationRow(
        id=record.id,
        action=record.action.value,
        selection=record.selection,
        state=record.state.value,
        ended=record.state.ended,
        by=record.by,
        why=record.why,
        created=record.created,
        ended_at=record.ended,
        done=record.done,
        skipped=record.skipped,
        failed=record.failed,
        processed=record.done + record.skipped + record.failed,
        total=record.total,
        exact=record.exact,
        stopping=record.stop,
        stopped_by=record.stopped_by,
        error=record.error,
        notices=record.notices,
        errors=_reasons(record.errors),
        skips=_reasons(record.skips),
    )


def _reasons(found: tuple[Reason, ...]) -> tuple[ReasonRow, ...]:
    return tuple(ReasonRow(task_id=one.task_id, text=one.text) for one in found)


def _audit_row(entry: AuditEntry) -> AuditRow:
    return AuditRow(
        operation=entry.operation,
        at=entry.at,
        by=entry.by,
        action=entry.action.value,
        selection=entry.selection,
        why=entry.why,
        state=entry.state.value,
        done=entry.done,
        skipped=entry.skipped,
        failed=entry.failed,
    )
