"""The main loop of a worker's child process: it takes one order at a time from its worker, and answers each."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

from attrs import frozen

from drivetrain.contract import Delivery, LimitWait, Message, SystemClock, reset_after_fork
from drivetrain.worker.batches.batch_run import batch_of, without_runs
from drivetrain.worker.context import SoftTimeout
from drivetrain.worker.deadlines import Deadlines
from drivetrain.worker.execution import Execution, Limited
from drivetrain.worker.fork_signals import restore_in_children
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.process_signals import dump_stacks_on_signal, leave_stopping_to_the_worker
from drivetrain.worker.progress import WRITE_SECONDS, ReportedProgress
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.threads import Threads
from drivetrain.workflow.frames import Invocation

__all__ = ["Import", "Report", "Work", "serve"]


@frozen
class Import:
    """The order to import the module of a task, and to prepare its app. That time counts for no task.

    The answer is the traceback of an error, or None.
    """

    task: TaskReference


@frozen
class Work:
    """The order to run a task. The answer is its `RunResult`, without the run."""

    task: TaskReference
    invocation: Invocation
    #: When the worker received its message, in Unix seconds, and the headers of the message: for plugins.
    received_at: float
    headers: Mapping[str, str]
    #: Until when the worker certainly holds the lease, by the monotonic clock, which all processes of a machine share.
    owned_until: float = math.inf
    #: The run must not begin after this time; Unix seconds.
    expires_at: float | None = None
    #: The limits for which it has waited, for plugins.
    limit_waits: tuple[LimitWait, ...] = ()
    #: The orders of the rows of a batch, which run as one; empty: it is a task by itself.
    rows: tuple[Work, ...] = ()


@frozen
class Report:
    """What a running task reports of its progress. It comes before the answer to the order, any number of times."""

    task_id: str
    progress: ReportedProgress


class _Reports:
    """Sends the latest report of each running task to the worker, once a second, in a thread that the first one starts.

    Locks are safe here: a time limit kills this process, and raises nothing in the task. A process that the task has
    forked reports nothing.

    Args:
        worker: this end of the connection to the worker.
    """

    def __init__(self, worker: connection.Connection[Any, Any]) -> None:
        self._worker = worker
        self._run: Run | None = None
        #: By the id of the task: a batch runs several.
        self._latest: dict[str, ReportedProgress] = {}
        self._starting = threading.Lock()
        self._sending = threading.Lock()
        self._reported = threading.Event()
        self._thread: threading.Thread | None = None
        self._forked = False
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._forked = True

    def begin(self, run: Run) -> None:
        """Take reports of this run; of a batch, those of its rows."""
        with self._sending:
            self._latest.clear()
            self._run = run

    def end(self) -> None:
        """Take no more reports. None is sent after this returns."""
        if not self._forked:
            with self._sending:
                self._run = None

    def report(self, run: Run, progress: ReportedProgress) -> None:
        """See `ProgressSink`."""
        if self._forked or (run.batch or run) is not self._run:
            return
        self._latest[run.task_id] = progress
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="drivetrain-progress", daemon=True)
                with suppress(RuntimeError):  # the system starts no more threads; no task depends on its progress
                    self._thread.start()
        self._reported.set()

    def _send_all(self) -> None:
        pause = threading.Event()
        while self._reported.wait():
            self._reported.clear()
            with self._sending, suppress(OSError):  # the worker has closed its end
                while self._run is not None and self._latest:
                    self._worker.send(Report(*self._latest.popitem()))
            pause.wait(WRITE_SECONDS)


class _SoftLimits:
    """Raises SoftTimeout in the running task. The worker itself enforces the hard limit: it kills this process."""

    def __init__(self) -> None:
        self._deadlines = Deadlines(SystemClock(), Threads(_end_process))

    def call(self, seconds: float, function: Callable[[], Any], error: type[BaseException]) -> Any:
        """See `Limited`."""
        return self._deadlines.call(seconds, function, error) if error is SoftTimeout else function()


def _end_process(_thread: str, _error: BaseException) -> None:
    os._exit(1)


def serve(
    worker: connection.Connection[Any, Any], options: WorkerOptions, directory: Path, worker_lives: int | None = None
) -> None:
    """Take orders until the worker closes its end. The main function of a child process.

    Args:
        worker: this end of the connection to the worker.
        options: the options of the worker.
        directory: the working directory. A task may have changed that of the worker.
        worker_lives: a file descriptor that becomes readable when the worker has died; None: multiprocessing has one.
    """
    with suppress(OSError):  # it was removed, so relative paths fail here as they do in the worker
        os.chdir(directory)
    parent = multiprocessing.parent_process()
    _prepare(options.prepare_child, parent.sentinel if worker_lives is None and parent is not None else worker_lives)
    _keep_to_this_process(worker)
    reports, limits = _Reports(worker), _SoftLimits()
    while True:
        try:
            order = worker.recv()
        except EOFError:
            return
        worker.send(_imported(order.task) if isinstance(order, Import) else _run(order, options, reports, limits.call))


def _prepare(prepare: Callable[[], None] | None, worker_lives: int | None) -> None:
    before = leave_stopping_to_the_worker()
    restore_in_children(before, partial(_restore, before))
    dump_stacks_on_signal()
    if prepare is not None:
        prepare()
    threading.Thread(target=_end_with_worker, args=(worker_lives,), daemon=True).start()


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_with_worker(worker_lives: int | None) -> None:
    try:
        if worker_lives is not None:
            connection.wait([worker_lives])
    finally:  # also when a task has closed the descriptor
        os._exit(1)


def _keep_to_this_process(worker: connection.Connection[Any, Any]) -> None:
    """Close the connection in processes that a task starts: they may live longer than this one."""
    os.set_inheritable(worker.fileno(), False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=worker.close)


def _imported(task: TaskReference) -> str | None:
    try:
        _ = task.find().runtime  # made at first use
    except BaseException:  # noqa: BLE001 - a module may raise anything, and the worker reports it
        return traceback.format_exc()
    return None


def _run(work: Work, options: WorkerOptions, reports: _Reports, limited: Limited) -> RunResult:
    task = work.task.find()
    run = _run_of(work, task.runtime.registry.find(work.invocation.call.task))
    reports.begin(run)
    try:
        result = Execution(task.runtime, options, progress_sink=reports).run_here(run, limited)
    finally:
        reports.end()
    return without_runs(result)


def _run_of(work: Work, definition: TaskDefinition) -> Run:
    if work.rows:
        batch = batch_of([_run_of(row, definition) for row in work.rows])
        batch.own_rows()
        return batch
    call = work.invocation.call
    message = Message(id=call.id, queue=call.queue, body=b"", headers=work.headers)
    return Run(
        id="child",
        delivery=Delivery(message=message, receipt=None),
        invocation=work.invocation,
        definition=definition,
        received_at=work.received_at,
        owned_until=work.owned_until,
        expires_at=work.expires_at,
        limit_waits=work.limit_waits,
    )
