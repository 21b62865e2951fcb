"""Running a batch: its function gets a list of rows, and each row gets a result of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from drivetrain.contract import SerializationError, State
from drivetrain.worker.batches.batch_run import BatchResult, BatchRun
from drivetrain.worker.run import Run, RunRefused, RunResult

__all__ = [
    "admit_rows",
    "around_rows",
    "decoded_rows",
    "first_log",
    "result_of_rows",
    "results_failed",
    "results_returned",
]


class _Execution(Protocol):
    """What `drivetrain.worker.execution.Execution` does for each row."""

    def admit(self, run: Run) -> None: ...

    def failed(self, run: Run, error: BaseException) -> RunResult: ...

    def finally_failed(self, run: Run, error: BaseException) -> RunResult: ...

    def succeeded(self, run: Run, value: Any) -> RunResult: ...


def admit_rows(execution: _Execution, batch: BatchRun) -> None:
    """Find the rows that may begin now. The results of the others are kept in the batch.

    Raises:
        RunRefused: none of them may.
    """
    _split(execution, batch, batch.rows, execution.admit)


def decoded_rows(execution: _Execution, batch: BatchRun, decode: Callable[[Run], Any]) -> list[Any]:
    """The rows of a batch, as its function gets them. Rows that do not fit the function are refused.

    Raises:
        RunRefused: no row is left.
    """
    return _split(execution, batch, batch.running or (), decode)


def _split(execution: _Execution, batch: BatchRun, rows: Sequence[Run], do: Callable[[Run], Any]) -> list[Any]:
    done, running = [], []
    for row in rows:
        try:
            done.append(do(row))
        except BaseException as error:  # noqa: BLE001 - a decoder of the application may raise anything; it ends only this row
            batch.refused.append(execution.failed(row, error))
        else:
            running.append(row)
    batch.running = running
    if not running:
        raise RunRefused
    return done


@contextmanager
def around_rows(batch: BatchRun, around: Callable[[Run], AbstractContextManager[None]]) -> Iterator[None]:
    """The context managers around each row, one inside the other."""
    with ExitStack() as stack:
        for row in batch.running or ():
            stack.enter_context(around(row))
        yield


def results_returned(execution: _Execution, run: Run, value: object) -> RunResult:
    """The result of a batch whose function has returned ``value``, or of one row that ran alone."""
    rows = [run] if not isinstance(run, BatchRun) else run.running or []
    items = _items(run, value, len(rows))
    if isinstance(items, SerializationError):
        results = [execution.finally_failed(row, items) for row in rows]
    else:
        results = [
            execution.failed(row, item) if isinstance(item, BaseException) else execution.succeeded(row, item)
            for row, item in zip(rows, items, strict=True)
        ]
    return result_of_rows(run, results) if isinstance(run, BatchRun) else results[0]


def _items(run: Run, value: object, number: int) -> Sequence[object] | SerializationError:
    """What the function has returned for each row; an error where that is not clear."""
    if value is None:
        return [None] * number
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        what = f"a {type(value).__name__}"
    elif len(value) != number:
        what = f"{len(value)} results"
    else:
        return value
    return SerializationError(
        f"{run.definition.name}() has returned {what} for {number} row{'s' if number > 1 else ''}; "
        "return a list with one result for each row, in their order, or None"
    )


def results_failed(execution: _Execution, batch: BatchRun, error: BaseException) -> BatchResult:
    """The result of a batch whose function has raised ``error``, or has not begun because of it."""
    rows = batch.rows if batch.running is None else batch.running
    return result_of_rows(batch, [execution.failed(row, error) for row in rows])


def result_of_rows(batch: BatchRun, results: Sequence[RunResult]) -> BatchResult:
    """The result of a batch: those of its running rows, and of those that it has refused."""
    return BatchResult(
        delivery=batch.delivery,
        invocation=batch.invocation,
        run=batch,
        state=State.SUCCESS,
        rows=(*batch.refused, *results),
        run_seconds=max((one.run_seconds for one in results), default=0.0),
    )


def first_log(run: Run, error: BaseException) -> bool:
    """Whether this error is logged for the first time: one error that ends many rows needs one traceback."""
    batch = run.batch
    if not isinstance(batch, BatchRun):
        return True
    first, batch.logged = batch.logged is not error, error
    return first
