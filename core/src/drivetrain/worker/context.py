"""The context of a running task, and the exceptions with which it asks for a retry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import field, frozen

from drivetrain.worker.batches.batch_run import BatchRun, rows_of
from drivetrain.worker.progress import ProgressSink, progress_report
from drivetrain.worker.run import Run
from drivetrain.worker.schedules.tick import Tick, read_tick
from drivetrain.workflow.frames import TICK_HEADER, given_headers
from drivetrain.workflow.habits import CONTEXT_HABITS, raise_unknown
from drivetrain.workflow.signature import Workflow

__all__ = [
    "Postpone",
    "Replacement",
    "Retry",
    "SoftTimeout",
    "TaskContext",
    "TaskTimeout",
    "awaiting",
    "current_batch",
    "current_task",
    "enter",
    "log_names",
    "task_or_none",
]

R = TypeVar("R")


class Retry(Exception):
    """Raised by a task to be run again later, as a new attempt.

    It counts as one of the retries of the task's policy (or of the app's ``retry_limit``, where it has none); when
    none is left, the task fails with this as its error.
    """

    def __init__(
        self, message: str = "the task asked to be run again", *, after: float | timedelta | None = None
    ) -> None:
        """Make it.

        Args:
            message: why; kept with the RETRY state.
            after: seconds to wait; None: as the task's policy says, or not at all where it has none.
        """
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise ValueError(f"Retry(after={after!r}): it must be 0 seconds or more")
        self.after_seconds = seconds
        super().__init__(message)


class Postpone(Exception):
    """Raised by a task that cannot run yet. It runs again later, as the same attempt: no retry is used.

    Until then its message is delayed, and it holds no slot. It has a deadline: a task that still raises this at the
    deadline fails, with this as its error. Its ``expires`` counts too.
    """

    def __init__(
        self,
        message: str = "the task asked to be run later",
        *,
        after: float | timedelta,
        within: float | timedelta | None = None,
    ) -> None:
        """Make it.

        Args:
            message: why; it is logged, and is the text of the failure at the deadline.
            after: how long to wait; seconds, or a timedelta.
            within: how long the attempt may be postponed, from the first time that it was; seconds, or a timedelta.
                None: as long as the setting ``postpone_limit_seconds`` says.
        """
        self.after_seconds = _seconds("after", after)
        self.within_seconds = None if within is None else _seconds("within", within)
        super().__init__(message)


def _seconds(name: str, duration: float | timedelta) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"Postpone({name}={duration!r}): it must be 0 seconds or more")
    return seconds


class TaskTimeout(BaseException):
    """One attempt ran for longer than the task's ``timeout``.

    Not an `Exception`, so that ``except Exception`` in the code of a task or a library does not swallow it. A task may
    catch it by name to clean up. It counts as an error of the task: the task is retried, or fails.
    """

    def __init__(self, message: str = "the attempt ran for longer than its timeout") -> None:
        super().__init__(message)


class SoftTimeout(Exception):
    """One attempt ran for longer than the task's ``soft_timeout``: it should clean up and end before its ``timeout``.

    An `Exception`, raised once. A task may catch it. If it does not, that is an error of the task: it is retried, or
    fails.
    """

    def __init__(self, message: str = "the attempt ran for longer than its soft timeout") -> None:
        super().__init__(message)


@frozen(eq=False)
class Replacement:
    """What `TaskContext.replace` returns, for the task to return it."""

    workflow: Workflow[Any]


@frozen(kw_only=True)
class TaskContext:
    """The attempt that runs now. Get it with `current_task`."""

    task_id: str
    #: The name of the task.
    task: str
    #: The first attempt is 0.
    attempt: int
    #: How many retries its policy still allows after this attempt.
    retries_left: int
    queue: str
    #: The headers that it was sent with. Read-only.
    headers: Mapping[str, str]
    #: The name of the worker.
    worker: str
    #: How long this attempt may run, in seconds; None: as long as it needs.
    timeout: float | None
    #: After how many seconds of this attempt `SoftTimeout` is raised; None: never.
    soft_timeout: float | None = None
    #: For the worker itself.
    run: Run = field(repr=False)
    #: For the worker itself: takes reports of progress; None: nobody reads them.
    progress_sink: ProgressSink | None = field(default=None, repr=False)

    @property
    def tick(self) -> Tick | None:
        """The tick of the schedule that has sent this task, or the workflow of this task; None: no schedule has."""
        header = self.run.invocation.call.headers.get(TICK_HEADER)
        return None if header is None else read_tick(header)

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled (or taken over by another worker) while it runs: its result counts no more.

        Tasks that take long may look from time to time and return.
        """
        return self.run.stopped

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Report how much of this attempt is done, for `Result.progress` and ``drivetrain result``.

        Call it as often as you like: the worker stores the latest report once a second. It never blocks and never fails
        the task. It may be called from threads that the task has started, with the context of the task. After the end
        of the attempt, and in a process that the task has forked, it does nothing.

        Args:
            done: how much is done, 0 or more, in any unit.
            total: how much there is to do, in the same unit.
            note: what the task does now, at most 200 characters.
        """
        if self.progress_sink is not None and (report := progress_report(done, total, note)) is not None:
            self.progress_sink.report(self.run, report)

    def replace(self, workflow: Workflow[R]) -> R:
        """Continue this task with a workflow: ``return current_task().replace(other.s(1) | more.s())``.

        The task then has the result of the workflow: for its caller, for the chain or group around it, and for its
        callbacks. Until the workflow has ended, the state of the task is RETRY. If the workflow does not succeed, the
        task does not either. Cancelling the task cancels the workflow.

        The workflow is sent once, when this attempt has ended, also if the worker dies in between.

        Args:
            workflow: a signature, chain, group or chord. It may not contain unique tasks.

        Returns:
            What the task must return. To a type checker, it is the result of the workflow.
        """
        replacement = Replacement(workflow)
        self.run.replacement = replacement
        return cast("R", replacement)

    if not TYPE_CHECKING:  # a type checker must find that there is no such attribute

        def __getattr__(self, name: str) -> Any:
            raise_unknown("the current task", name, CONTEXT_HABITS)


#: The run, the name of its worker, and what takes its reports: the context is made of them only when it is needed.
_current: ContextVar[tuple[Run, str, ProgressSink | None]] = ContextVar("drivetrain.current_task")


def current_task() -> TaskContext:
    """The context of the task that runs in this thread, or in this asyncio task.

    Raises:
        RuntimeError: no task runs here, since the function was called directly; or a batch does, see `current_batch`.
    """
    context = task_or_none()
    if context is None:
        if _current.get(None) is not None:
            raise RuntimeError("a batch of tasks runs here: use current_batch(), which has a context for each row")
        raise RuntimeError("no task runs here: current_task() only works in a function that a worker runs")
    return context


def current_batch() -> tuple[TaskContext, ...]:
    """The contexts of the rows that run in this thread, or in this asyncio task: one for each row, in their order.

    Raises:
        RuntimeError: no batched task runs here.
    """
    current = _current.get(None)
    if current is None or current[0].definition.batch is None:
        raise RuntimeError("no batch runs here: current_batch() only works in a batched task that a worker runs")
    run, worker, progress_sink = current
    rows = run.running or () if isinstance(run, BatchRun) else (run,)
    return tuple(_context_of(row, worker, progress_sink) for row in rows)


def task_or_none() -> TaskContext | None:
    """The context of the task that runs in this thread or asyncio task; None where none does, or a batch does."""
    current = _current.get(None)
    return None if current is None or current[0].definition.batch is not None else _context_of(*current)


def log_names() -> tuple[str, str] | None:
    """The id and the name of the task that runs here, for log lines; of a batch, its size takes the place of the id."""
    current = _current.get(None)
    if current is None:
        return None
    run = current[0]
    whose = f"batch of {len(run.running or ())}" if isinstance(run, BatchRun) else run.task_id
    return whose, run.invocation.call.task


def _context_of(run: Run, worker: str, progress_sink: ProgressSink | None) -> TaskContext:
    call, attempt = run.invocation.call, run.invocation.attempt
    allowed = 0 if call.retries is None else call.retries.max_retries
    return TaskContext(
        task_id=call.id,
        task=call.task,
        attempt=attempt,
        retries_left=max(0, allowed - attempt),
        queue=call.queue,
        headers=given_headers(call),
        worker=worker,
        timeout=call.timeout,
        soft_timeout=call.soft_timeout,
        run=run,
        progress_sink=progress_sink,
    )


@contextmanager
def awaiting(*task_ids: str) -> Iterator[None]:
    """The block in which the task that runs here waits for the results of others. Without a task it does nothing.

    Args:
        task_ids: the ids of tasks and groups.
    """
    current = _current.get(None)
    if current is None:
        yield
        return
    runs = rows_of([current[0]])
    for run in runs:
        run.awaits = task_ids
    try:
        yield
    finally:
        for run in runs:
            run.awaits = ()


def enter(run: Run, worker: str, progress_sink: ProgressSink | None = None) -> None:
    """Make ``run`` the current one of this thread or asyncio task.

    Args:
        run: what begins now.
        worker: the name of the worker that runs it.
        progress_sink: takes its reports of progress; None: nobody reads them.
    """
    _current.set((run, worker, progress_sink))
