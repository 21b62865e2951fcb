"""The handle of an operation on many tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from attrs import frozen
from msgspec.structs import replace

from drivetrain.app.bulk.operation_record import OperationRecord, OperationState, Reason
from drivetrain.app.bulk.operation_store import OperationStore, TakenOver
from drivetrain.app.bulk.runner import OperationRunner
from drivetrain.contract import Clock, UnknownResult

__all__ = ["BulkProgress", "Operation", "progress_of"]

#: How often a waiting process reads the progress, in seconds.
_POLL_SECONDS = 0.25


@frozen(kw_only=True)
class BulkProgress:
    """The progress of an operation. Immutable; ``str`` gives ``120 of 500``, or ``120 of ≥ 10000``."""

    #: On how many tasks it has acted.
    done: int
    #: How many tasks needed nothing.
    skipped: int
    #: On how many tasks it could not act.
    failed: int
    #: How many tasks were chosen when it began; None: not counted yet.
    total: int | None
    #: Whether ``total`` is exact; otherwise it is the least number.
    exact: bool
    state: OperationState

    @property
    def processed(self) -> int:
        """How many tasks are behind it."""
        return self.done + self.skipped + self.failed

    def __str__(self) -> str:
        if self.total is None:
            return str(self.processed)
        return f"{self.processed} of {'' if self.exact else '≥ '}{max(self.total, self.processed)}"


class Operation:
    """A handle of an operation on many tasks. It holds no state. Thread-safe.

    ``app.operations.bulk.get(id)`` makes the same handle in another process. All methods raise `UnknownResult` if the
    operation is unknown, or has ended more than a day ago, and `ServiceError` if the backend cannot be reached.
    """

    def __init__(self, operation_id: str, store: OperationStore, runner: OperationRunner, clock: Clock) -> None:
        """Make it; applications use ``app.operations.bulk`` instead."""
        self.id = operation_id
        self._store = store
        self._runner = runner
        self._clock = clock

    def record(self) -> OperationRecord:
        """What is stored of it: action, tasks, who and why, progress, state, the first errors."""
        stored = self._store.read(self.id)
        if stored is None:
            raise UnknownResult(self.id, f"there is no operation {self.id}, or it has ended more than a day ago")
        return stored.record

    def progress(self) -> BulkProgress:
        """How far it is."""
        return progress_of(self.record())

    def errors(self) -> Sequence[Reason]:
        """The first 20 tasks on which it could not act, with the reason."""
        return self.record().errors

    def skips(self) -> Sequence[Reason]:
        """The first 20 tasks that needed nothing, with the reason."""
        return self.record().skips

    def run(self, *, report: Callable[[BulkProgress], object] | None = None) -> OperationRecord:
        """Run it in this thread to its end. If another process runs it, wait for its end instead.

        Args:
            report: called with the progress after each page of tasks.

        Returns:
            its record.

        Raises:
            ServiceError: a service could not be reached; a worker goes on with the operation.
        """
        tell: Callable[[OperationRecord], object] = (
            (lambda _: None) if report is None else lambda one: report(progress_of(one))
        )
        while not self._runner.run(self.id, report=tell):
            tell(self.record())
            self._pause(None)
        return self.record()

    def wait(self, timeout: float | None = None, *, report: Callable[[BulkProgress], object] | None = None) -> bool:
        """Wait until it has ended; whether it has ended.

        Args:
            timeout: how long to wait at most, in seconds; None: without limit.
            report: called with the progress whenever it is read.
        """
        began = self._clock.monotonic()
        while True:
            record = self.record()
            if report is not None:
                report(progress_of(record))
            remaining = None if timeout is None else timeout - (self._clock.monotonic() - began)
            if record.state.ended or (remaining is not None and remaining <= 0):
                return record.state.ended
            self._pause(remaining)

    def stop(self, *, by: str = "") -> bool:
        """Stop it after the page of tasks on which it acts; what it has done stays. False: it had ended before.

        Args:
            by: who stops it, shown to operators.
        """
        while True:
            stored = self._store.read(self.id)
            if stored is None:
                self.record()  # raises
                continue
            if stored.record.state.ended:
                return False
            try:
                self._store.update(stored, replace(stored.record, stop=True, stopped_by=by))
            except TakenOver:
                continue  # it has begun, or ended, in this moment
            # If no process runs it, nobody else would store its end.
            self._runner.run(self.id)
            return True

    def _pause(self, remaining: float | None) -> None:
        self._clock.wait_event(threading.Event(), _POLL_SECONDS if remaining is None else min(remaining, _POLL_SECONDS))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


def progress_of(record: OperationRecord) -> BulkProgress:
    """The progress in the record of an operation. Pure."""
    return BulkProgress(
        done=record.done,
        skipped=record.skipped,
        failed=record.failed,
        total=record.total,
        exact=record.exact,
        state=record.state,
    )
