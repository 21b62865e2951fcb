"""How an operation on many tasks is shown: while it runs, and afterwards."""

from __future__ import annotations

import sys
from typing import Any, Self

import click

from drivetrain.app.bulk.operation import BulkProgress, Operation, progress_of
from drivetrain.app.bulk.operation_record import AuditEntry, OperationRecord, OperationState, Reason
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.operator import operator_name
from drivetrain.cli.output import one_line, timestamp

__all__ = [
    "AUDIT_HEADERS",
    "OPERATION_HEADERS",
    "audit_row",
    "operation_document",
    "operation_exit",
    "operation_row",
    "run_shown",
    "show_operation",
]

OPERATION_HEADERS = ("ID", "ACTION", "STATE", "PROGRESS", "FAILED", "ASKED", "BY", "WHAT", "WHY")
AUDIT_HEADERS = ("AT", "BY", "ACTION", "WHAT", "STATE", "DONE", "SKIPPED", "FAILED", "WHY")


def run_shown(operation: Operation, *, quiet: bool) -> OperationRecord:
    """Run an operation with a progress bar on the terminal. Ctrl-C stops it, and gives its record."""
    try:
        if quiet or not sys.stderr.isatty():
            return operation.run()
        with _Bar() as bar:
            return operation.run(report=bar.report)
    except KeyboardInterrupt:
        operation.stop(by=operator_name())
        operation.wait()
        return operation.record()


class _Bar:
    """A progress bar that begins when the number of tasks is known."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._processed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def report(self, progress: BulkProgress) -> None:
        """Show the progress."""
        if self._bar is None:
            if progress.total is None:
                return
            self._bar = click.progressbar(length=max(progress.total, 1), show_pos=True, file=sys.stderr)
        if not progress.exact:
            self._bar.length = max(self._bar.length, progress.processed)
        self._bar.update(progress.processed - self._processed)
        self._processed = progress.processed


def show_operation(record: OperationRecord) -> None:
    """Print an operation, with the first tasks on which it did not act."""
    why = f" ({one_line(record.why)})" if record.why else ""
    click.echo(f"{record.action} {one_line(record.selection)}: {_summary(record)}")
    click.echo(f"operation {record.id}, asked for by {record.by or '(unknown)'} at {timestamp(record.created)}{why}")
    for notice in record.notices:
        click.echo(notice, err=True)
    if record.error:
        click.echo(f"Error: {one_line(record.error)}", err=True)
    _show_reasons("failed", record.failed, record.errors)
    _show_reasons("skipped", record.skipped, record.skips)


def _summary(record: OperationRecord) -> str:
    counts = f"{record.done} done, {record.skipped} skipped, {record.failed} failed"
    if record.state is OperationState.DONE:
        return counts
    stopped = f" by {record.stopped_by}" if record.stopped_by and record.state is OperationState.STOPPED else ""
    return f"{record.state}{stopped}, {progress_of(record)}: {counts}"


def _show_reasons(what: str, count: int, reasons: tuple[Reason, ...]) -> None:
    for reason in reasons:
        click.echo(f"  {what} {reason.task_id}: {one_line(reason.text)}")
    if count > len(reasons):
        click.echo(f"  … and {count - len(reasons)} more {what}")


def operation_document(record: OperationRecord) -> dict[str, Any]:
    """An operation for JSON."""
    return {
        "id": record.id,
        "action": record.action,
        "selection": record.selection,
        "state": record.state,
        "by": record.by or None,
        "why": record.why or None,
        "created": timestamp(record.created),
        "began": timestamp(record.began),
        "ended": timestamp(record.ended),
        "runner": record.runner or None,
        "done": record.done,
        "skipped": record.skipped,
        "failed": record.failed,
        "total": record.total,
        "total_is_exact": record.exact,
        "stopped_by": record.stopped_by or None,
        "notices": record.notices,
        "error": record.error or None,
        "errors": [{"id": one.task_id, "reason": one.text} for one in record.errors],
        "skips": [{"id": one.task_id, "reason": one.text} for one in record.skips],
    }


def operation_row(record: OperationRecord) -> tuple[object, ...]:
    """A row under `OPERATION_HEADERS`."""
    return (
        record.id,
        record.action.value,
        record.state.value,
        str(progress_of(record)),
        record.failed,
        timestamp(record.created),
        record.by,
        record.selection,
        record.why,
    )


def audit_row(entry: AuditEntry) -> tuple[object, ...]:
    """A row under `AUDIT_HEADERS`."""
    return (
        timestamp(entry.at),
        entry.by or "(unknown)",
        entry.action.value,
        entry.selection,
        entry.state.value,
        entry.done,
        entry.skipped,
        entry.failed,
        entry.why,
    )


def operation_exit(record: OperationRecord) -> Exit:
    """The exit code of a command that has waited for an operation."""
    return Exit.OK if record.state is OperationState.DONE and not record.failed else Exit.FAILED
