"""The main loop of a worker's child process: it takes one order at a time from its worker, and answers each."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

from attrs import frozen
from msgspec import Struct

from drivetrain.contract import Delivery, LimitWait, Message, State, SystemClock, reset_after_fork
from drivetrain.worker.batches.batch_run import batch_of, without_runs
from drivetrain.worker.context import SoftTimeout
from drivetrain.worker.deadlines import Deadlines
from drivetrain.worker.execution import Execution
from drivetrain.worker.fork_signals import restore_in_children
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools.channel import Channel, Permits
from drivetrain.worker.pools.memory_use import memory_bytes
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.process_signals import dump_stacks_on_signal, leave_stopping_to_the_worker
from drivetrain.worker.progress import WRITE_SECONDS, ReportedProgress
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.threads import Threads
from drivetrain.workflow.frames import Invocation

__all__ = ["Full", "Import", "Imported", "Report", "Work", "serve"]

_BYTES_PER_MB = 1_000_000


@frozen
class Import:
    """The order to import the module of a task, and to prepare its app. That time counts for no task.

    The answer is `Imported`.
    """

    task: TaskReference


@frozen
class Imported:
    """The answer to `Import`.

    Attributes:
        module: the name of the module.
        trouble: the traceback of an error; None: it succeeded.
    """

    module: str
    trouble: str | None


class Work(Struct, frozen=True):
    """The order to run a task. Several come as a list: they run in order, each as long as there is a permit.

    The answer to each is its value and how long it ran in seconds, as a tuple; if it has not succeeded, its
    `RunResult`, without the run.
    """

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


@frozen
class Full:
    """The answer to a task after which the child uses more memory than it may. It begins no more tasks of its batch.

    Attributes:
        answer: the answer; see `Work`.
        memory_bytes: how much memory the child uses, in bytes.
    """

    answer: object
    memory_bytes: int


class _Reports:
    """Sends the latest report of each running task to the worker, once a second, in a thread that the first one starts.

    Locks are safe here: a time limit kills this process, and raises nothing in the task. A process that the task has
    forked reports nothing.

    Args:
        channel: leads to the worker.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
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
                    self._channel.send(Report(*self._latest.popitem()))
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
    worker: connection.Connection[Any, Any],
    permits: connection.Connection[Any, Any],
    options: WorkerOptions,
    directory: Path,
    worker_lives: int | None = None,
) -> None:
    """Take orders until the worker closes its end. The main function of a child process.

    Args:
        worker: this end of the connection to the worker.
        permits: the permits to begin tasks; see `Permits`.
        options: the options of the worker.
        directory: the working directory. A task may have changed that of the worker.
        worker_lives: a file descriptor that becomes readable when the worker has died; None: multiprocessing has one.
    """
    with suppress(OSError):  # it was removed, so relative paths fail here as they do in the worker
        os.chdir(directory)
    parent = multiprocessing.parent_process()
    _prepare(options.prepare_child, parent.sentinel if worker_lives is None and parent is not None else worker_lives)
    _keep_to_this_process(worker)
    _keep_to_this_process(permits)
    channel = Channel(worker)
    runner = _Runner(channel, Permits(permits), options)
    while True:
        try:
            orders = channel.receive(None)
        except EOFError:
            return
        for order in orders:
            if isinstance(order, Import):
                channel.send(Imported(order.task.module, _imported(order.task)))
            else:
                runner.run(order)


class _Runner:
    """Runs batches of tasks, and answers for each."""

    def __init__(self, channel: Channel, permits: Permits, options: WorkerOptions) -> None:
        self._channel = channel
        self._permits = permits
        #: How many batches have come; the worker counts them too.
        self._batches = 0
        self._options = options
        self._reports = _Reports(channel)
        self._limits = _SoftLimits()
        self._tasks: dict[TaskReference, Any] = {}
        self._executions: dict[int, tuple[Runtime, Execution]] = {}
        limit = options.max_memory_per_child
        self._limit_bytes = None if limit is None else limit * _BYTES_PER_MB

    def run(self, works: Sequence[Work]) -> None:
        batch, self._batches = self._batches, self._batches + 1
        for work in works:
            if not self._permits.begin(batch):
                return  # the worker has taken back the others
            answer = _answer(self._run(work))
            if self._limit_bytes is not None and (used := memory_bytes()) > self._limit_bytes:
                self._channel.send(Full(answer, used))
                return
            self._channel.send(answer)

    def _run(self, work: Work) -> RunResult:
        task = self._task(work.task)
        run = _run_of(work, task.runtime.registry.find(work.invocation.call.task))
        self._reports.begin(run)
        try:
            return self._execution(task.runtime).run_here(run, self._limits.call)
        finally:
            self._reports.end()

    def _task(self, reference: TaskReference) -> Any:
        if (task := self._tasks.get(reference)) is None:
            task = self._tasks[reference] = reference.find()
        return task

    def _execution(self, runtime: Runtime) -> Execution:
        """The `Execution` of an app, which is made once."""
        known = self._executions.get(id(runtime))
        if known is None or known[0] is not runtime:
            execution = Execution(runtime, self._options, progress_sink=self._reports)
            known = self._executions[id(runtime)] = runtime, execution
        return known[1]


def _answer(result: RunResult) -> object:
    if type(result) is RunResult and result.state is State.SUCCESS:
        return result.value, result.run_seconds
    return without_runs(result)


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
