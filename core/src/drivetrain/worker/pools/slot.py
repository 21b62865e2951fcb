"""A slot for tasks in child processes: one process at a time, replaced when it has ended, or has run long enough."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import State
from drivetrain.worker.batches.batch_run import BatchRun, rows_of, with_runs
from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.channel import Channel, Permits
from drivetrain.worker.pools.child_process import ChildDied, ChildProcess, Launch, spawn
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.process_exit import describe_exit
from drivetrain.worker.progress import ProgressSink
from drivetrain.worker.run import Run, RunResult

__all__ = ["Broken", "Slot"]

logger = get_logger("drivetrain.worker")

#: How often to check whether a child is alive, in seconds. Usually its death is seen at once, except while processes
#: that it has started keep its files open.
_POLL_SECONDS = 1.0
#: When a task runs for this time, in seconds, the tasks behind it in its child are taken back.
_RECALL_SECONDS = 0.01
#: The shortest time between two reads of answers, in seconds: each read wakes a thread of the worker.
_PAUSE_SECONDS = 0.001
#: How long before its end the successor of a child is started, in seconds: to start one takes a part of it.
_LEAD_SECONDS = 2.0


@frozen
class Broken:
    """The end of a batch in which the child has ended.

    Attributes:
        run: the run in which it ended; None: it ended between two runs.
        error: how it ended. `TaskTimeout`: the run took too long, and the child was killed.
    """

    run: Run | None
    error: ChildDied | TaskTimeout


class Slot:
    """One child process. `kill` and `close` may be called from any thread; the others are for one thread."""

    def __init__(
        self,
        options: WorkerOptions,
        directory: Path,
        launch: Launch = spawn,
        *,
        progress_sink: ProgressSink | None = None,
    ) -> None:
        """Make it. The first order starts a process.

        Args:
            options: the options of the worker.
            directory: the working directory of a process.
            launch: starts a process.
            progress_sink: takes reports of the progress of tasks; None: nobody reads them.
        """
        self._progress_sink = progress_sink
        self._options = options
        self._directory = directory
        self._launch = launch
        self._successor: ChildProcess | None = None
        #: How many children were replaced since they had run enough tasks, or used too much memory.
        self.replaced = 0
        #: Guards the attributes below, and the processes.
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        #: The run that the child runs, and whether it has no other one.
        self._run: Run | None = None
        self._alone = True
        self._closed = False

    @property
    def fresh(self) -> bool:
        """Whether its process, if there is one, has run nothing yet."""
        return self._child is None or self._child.ran == 0

    @property
    def room(self) -> int | None:
        """How many more tasks its child may run; None: without limit."""
        limit = self._options.max_tasks_per_child
        return None if limit is None else limit - (0 if self._child is None else self._child.ran)

    def prepare(self, task: TaskReference) -> None:
        """Make sure that a child process is alive and ready for the task. May take long.

        Raises:
            ImportError: the child cannot import the task's module, or prepare its app.
            ChildDied: the child died meanwhile.
        """
        if self._child is None or not self._idle(self._child):
            self._dismiss_child()
            self._use(self._take_successor() or self._start())
        ready = self._child
        assert ready is not None  # noqa: S101
        try:
            while ready.importing:
                self._await_import(ready)  # what its predecessor had imported; a failure comes again below
            if task.module in ready.imported:
                return
            self._ask_import(ready, task)
            trouble = self._await_import(ready)
        except (EOFError, OSError) as error:
            raise ChildDied(self._reap()) from error
        if trouble is not None:
            raise ImportError(f"a child process cannot import {task.module}:\n{trouble}", name=task.module)

    def execute(self, run: Run, task: TaskReference) -> RunResult:
        """Run it in the child, and return its result.

        Raises:
            TaskTimeout: it took too long, and the child was killed.
            ChildDied: the child died, or closed its connection.
        """
        results: list[RunResult] = []
        broken = self.execute_all([(run, task)], results.append, lambda _runs: None)
        if broken is not None:
            raise broken.error
        return results[0]

    def execute_all(
        self,
        batch: Sequence[tuple[Run, TaskReference]],
        answered: Callable[[RunResult], None],
        recalled: Callable[[Sequence[Run]], None],
        *,
        mean_seconds: float = math.inf,
    ) -> Broken | None:
        """Run a batch in the child, in order.

        Args:
            batch: the runs, at most `room`.
            answered: called with each result.
            recalled: called with runs that do not begin here: behind a long task, or a child that has ended.
            mean_seconds: how long a task runs, about. It says when the successor of a child is started.

        Returns:
            How the child has ended, and in which run; None: it is alive.
        """
        current = self._child
        assert current is not None  # noqa: S101
        pending = deque(run for run, _ in batch)
        self._serve(pending)
        try:
            current.permits.give(len(batch), current.batches)
            current.batches += 1
            current.channel.send([_work(run, task) for run, task in batch])
            self._prepare_successor(current, len(batch), mean_seconds)
            self._collect(current, pending, answered, recalled)
        except TaskTimeout as error:
            self._dismiss_child()
            return Broken(pending[0], error)
        except (EOFError, OSError) as error:
            return self._broken(current, pending, len(batch), recalled, error)
        finally:
            self._serve(())
        return None

    def renew(self) -> None:
        """Replace the child, if it has run enough tasks or uses too much memory. Call it between two batches."""
        current = self._child
        if current is None:
            return
        limit = self._options.max_tasks_per_child
        if current.full_bytes is not None:
            most = self._options.max_memory_per_child
            reason = f"it uses {current.full_bytes / 1e6:.0f} MB, and max_memory_per_child is {most} MB"
        elif limit is not None and current.ran >= limit:
            reason = f"it has run {current.ran} tasks, as max_tasks_per_child says"
        else:
            return
        with self._lock:
            self._child = None
        self.replaced += 1
        logger.info("replacing child process %s: %s", current.process.pid, reason)
        current.retire()
        if (successor := self._take_successor()) is not None:
            self._use(successor)

    def kill(self, run: Run) -> None:
        """Kill the child, if it is running ``run``."""
        with self._lock:
            # Behind it in the batch may be another run, which must not be hit: `_collect` takes that back first.
            if self._run is run and self._alone:
                self._kill()

    def close(self) -> None:
        """Kill the child, and each child that starts later."""
        with self._lock:
            self._closed = True
            self._kill()
            if self._successor is not None:
                self._successor.process.kill()

    def dismiss(self) -> None:
        """Kill the child, and its successor, and clean up after them."""
        self._dismiss_child()
        if (successor := self._take_successor()) is not None:
            successor.end()

    # A batch

    def _collect(
        self,
        current: ChildProcess,
        pending: deque[Run],
        answered: Callable[[RunResult], None],
        recalled: Callable[[Sequence[Run]], None],
    ) -> None:
        """Take the answers to ``pending``, and remove those from it; see `execute_all`.

        Raises:
            TaskTimeout: the first of them took too long, and is the only one in the child.
            EOFError: the child has died or closed its connection; also OSError.
        """
        began, recall = time.monotonic(), _RECALL_SECONDS
        while pending:
            now = time.monotonic()
            limit = math.inf if (timeout := pending[0].invocation.call.timeout) is None else began + timeout
            wake = min(limit, began + recall if len(pending) > 1 else math.inf)
            if answers := current.channel.receive(max(0.0, min(wake, now + _POLL_SECONDS) - now)):
                number = len(pending)
                self._take_answers(current, answers, pending, answered)
                if current.full_bytes is not None:
                    self._recall(current, pending, recalled)
                self._serve(pending)
                if pending and len(pending) < number:
                    began, recall = time.monotonic(), _RECALL_SECONDS
                    time.sleep(_PAUSE_SECONDS)
                continue
            now = time.monotonic()
            if now >= wake and len(pending) > 1 and recall < math.inf:
                # First: then what strikes the child strikes no other run. An answer may have come just before.
                self._recall(current, pending, recalled)
                self._serve(pending)
                recall = math.inf
            elif now >= limit:
                raise TaskTimeout
            elif not self._lives():
                raise EOFError

    def _take_answers(
        self,
        current: ChildProcess,
        answers: Sequence[Any],
        pending: deque[Run],
        answered: Callable[[RunResult], None],
    ) -> None:
        for answer in answers:
            if isinstance(answer, child.Report):
                self._report(pending[0], answer)
                continue
            if isinstance(answer, child.Full):
                current.full_bytes, answer = answer.memory_bytes, answer.answer  # noqa: PLW2901
            run = pending.popleft()
            current.ran += 1
            answered(_result(run, answer))

    def _report(self, run: Run, report: child.Report) -> None:
        """Pass on what the running task, or a row of the running batch, reports."""
        if self._progress_sink is not None:
            for one in rows_of([run]):
                if one.task_id == report.task_id:
                    self._progress_sink.report(one, report.progress)

    def _recall(self, current: ChildProcess, pending: deque[Run], recalled: Callable[[Sequence[Run]], None]) -> None:
        """Take back the runs that the child has not begun."""
        number = current.permits.take(len(pending))
        if number:
            back = [pending.pop() for _ in range(number)]
            recalled(back[::-1])

    def _broken(
        self,
        current: ChildProcess,
        pending: deque[Run],
        number: int,
        recalled: Callable[[Sequence[Run]], None],
        error: BaseException,
    ) -> Broken:
        """The end of a child that has died in a batch of ``number`` runs, or before it."""
        unbegun = current.permits.take(len(pending))
        if unbegun == len(pending) == number:
            unbegun -= 1  # it has not begun the first one, and is not given it again and again
        back = [pending.pop() for _ in range(unbegun)]
        died = ChildDied(self._reap())
        died.__cause__ = error
        recalled(back[::-1])
        return Broken(pending[0] if pending else None, died)

    def _serve(self, runs: Sequence[Run] | deque[Run]) -> None:
        with self._lock:
            self._run, self._alone = (runs[0] if runs else None), len(runs) <= 1
            if self._run is not None and self._alone and self._run.stopped:
                self._kill()  # it was cancelled before it had a slot, or behind another one

    def _kill(self) -> None:
        if self._child is not None:
            self._child.process.kill()

    # The process

    def _start(self) -> ChildProcess:
        ours, theirs = Pipe()
        reader, writer = Pipe(duplex=False)
        try:
            process = self._launch(theirs, reader, self._options, self._directory)
        except BaseException:  # raised again: no process has the other end
            for end in (ours, reader, writer):
                end.close()
            raise
        finally:
            theirs.close()
        return ChildProcess(process, Channel(ours), Permits(reader, writer))

    def _start_like(self, other: ChildProcess) -> ChildProcess:
        """Start a child, and let it import what ``other`` has imported."""
        started = self._start()
        for module in sorted(other.imported):
            self._ask_import(started, other.asked[module])
        return started

    def _prepare_successor(self, current: ChildProcess, number: int, mean_seconds: float) -> None:
        """Start the successor of a child that ends soon: then no task waits until it has started."""
        limit = self._options.max_tasks_per_child
        if limit is None or self._successor is not None or mean_seconds == math.inf:
            return
        if (limit - current.ran - number) * mean_seconds > _LEAD_SECONDS:
            return
        try:
            started = self._start_like(current)
        except OSError:  # the next task tries again, and reports it
            return
        with self._lock:
            self._successor = started
            if self._closed:
                started.process.kill()

    def _take_successor(self) -> ChildProcess | None:
        with self._lock:
            successor, self._successor = self._successor, None
        return successor

    def _use(self, started: ChildProcess) -> None:
        with self._lock:
            self._child = started
            if self._closed:
                self._kill()

    def _dismiss_child(self) -> None:
        with self._lock:
            dismissed, self._child = self._child, None
        if dismissed is not None:
            dismissed.end()

    def _reap(self) -> str:
        """Clean up after a child that has died or closed its connection; how it ended, in words."""
        assert self._child is not None  # noqa: S101
        code = self._child.exit_code_soon()
        self._dismiss_child()
        return "closed the connection to its worker" if code is None else describe_exit(code)

    def _lives(self) -> bool:
        with self._lock:
            return self._child is not None and self._child.process.exitcode is None

    def _idle(self, current: ChildProcess) -> bool:
        """Whether the child waits for an order: it lives, and its end of the connection is open."""
        try:
            return self._lives() and (current.importing > 0 or not current.channel.has_data())
        except OSError:
            return False

    # Imports

    def _ask_import(self, asked: ChildProcess, task: TaskReference) -> None:
        asked.asked[task.module] = task
        asked.channel.send(child.Import(task))
        asked.importing += 1

    def _await_import(self, asked: ChildProcess) -> str | None:
        """Wait for the answer to an import; the traceback of its error, or None."""
        while not (answers := asked.channel.receive(_POLL_SECONDS)):
            if not self._lives():
                raise EOFError
        trouble = None
        for answer in answers:
            asked.importing -= 1
            if answer.trouble is None:
                asked.imported.add(answer.module)
            trouble = trouble or answer.trouble
        return trouble


def _work(run: Run, task: TaskReference) -> child.Work:
    invocation = run.invocation
    if invocation.frames or invocation.rest:
        invocation = replace(invocation, frames=(), rest="")  # what follows is for the worker
    return child.Work(
        task,
        invocation,
        received_at=run.received_at,
        headers=dict(run.delivery.message.headers),  # drivers may have any mapping
        owned_until=run.owned_until,
        expires_at=run.expires_at,
        limit_waits=run.limit_waits,
        rows=tuple(_work(row, task) for row in run.running or ()) if isinstance(run, BatchRun) else (),
    )


def _result(run: Run, answer: Any) -> RunResult:
    if isinstance(answer, RunResult):
        return with_runs(answer, run)
    value, seconds = answer
    return RunResult(
        delivery=run.delivery,
        invocation=run.invocation,
        run=run,
        state=State.SUCCESS,
        value=value,
        run_seconds=seconds,
    )
