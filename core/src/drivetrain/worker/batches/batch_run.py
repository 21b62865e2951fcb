"""A batch in a worker: the runs of its rows, which a pool runs as one, and the results of these runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import field
from msgspec.structs import replace

from drivetrain.worker.run import Run, RunResult

__all__ = ["BatchResult", "BatchRun", "batch_of", "results_of", "rows_of", "with_runs", "without_runs"]


class BatchRun(Run, kw_only=True, eq=False):
    """The runs of some rows of one batched task. Pools run it as if it was one run.

    The rows have the same task, queue and time limit. What it has as a `Run` is that of its first row.
    """

    rows: tuple[Run, ...]
    #: The rows that its function gets, in order; None: it has not begun.
    running: list[Run] | None = None
    #: The results of the rows that its function does not get.
    refused: list[RunResult] = field(default_factory=list)
    #: How many of its rows are in flight. For `InFlight`.
    open_rows: int = 0
    #: The error whose traceback was logged last: one error may end many rows.
    logged: BaseException | None = None

    def own_rows(self) -> None:
        """Make it the batch of its rows."""
        for row in self.rows:
            row.batch = self


class BatchResult(RunResult, frozen=True, kw_only=True):
    """The results of the rows of a batch. What it has as a `RunResult` is that of the batch as a whole."""

    rows: tuple[RunResult, ...]


def batch_of(rows: Sequence[Run]) -> BatchRun:
    """A batch of these rows."""
    first = rows[0]
    return BatchRun(
        id=f"{first.id}+",
        delivery=first.delivery,
        invocation=first.invocation,
        definition=first.definition,
        received_at=first.received_at,
        rows=tuple(rows),
    )


def rows_of(runs: Iterable[Run]) -> list[Run]:
    """These runs, with the rows of each batch in its place."""
    return [row for run in runs for row in (run.rows if isinstance(run, BatchRun) else (run,))]


def results_of(results: Iterable[RunResult]) -> list[RunResult]:
    """These results, with those of the rows of each batch in its place."""
    return [row for one in results for row in (one.rows if isinstance(one, BatchResult) else (one,))]


def without_runs(result: RunResult) -> RunResult:
    """The result that a child process answers with: runs stay in their process."""
    if isinstance(result, BatchResult):
        return replace(result, run=None, rows=tuple(replace(row, run=None) for row in result.rows))
    return replace(result, run=None)


def with_runs(result: RunResult, run: Run) -> RunResult:
    """What a child process has answered, as the result of ``run``; that of each row belongs to the run of the row."""
    if isinstance(result, BatchResult) and isinstance(run, BatchRun):
        runs = {row.task_id: row for row in run.rows}
        rows = [with_runs(row, runs[row.task_id]) for row in result.rows]
        return replace(result, delivery=run.delivery, run=run, rows=(*run.refused, *rows))
    return replace(result, delivery=run.delivery, invocation=run.invocation, run=run)
