"""A slot for tasks in child processes: one process at a time, replaced when it has ended, or has run long enough."""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from msgspec.structs import replace

from drivetrain.contract import State
from drivetrain.worker.batches.batch_run import BatchRun, rows_of, with_runs
from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.channel import Channel, Permits
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.process_exit import describe_exit
from drivetrain.worker.progress import ProgressSink
from drivetrain.worker.run import Run, RunResult

__all__ = ["Broken", "ChildDied", "Launch", "Process", "Slot", "spawn"]

logger = get_logger("drivetrain.worker")

#: How often to check whether a child is alive, in seconds. Usually its death is seen at once, except while processes
#: that it has started keep its files open.
_POLL_SECONDS = 1.0
#: How long a child that has closed its connection may take to end by itself, in seconds.
_FAREWELL_SECONDS = 1.0
#: How often to check whether it has ended, in seconds.
_FAREWELL_PAUSE_SECONDS = 0.005
#: How long the system may take to end a process that was killed, in seconds.
_LAST_SECONDS = 5.0
#: How long a child that is replaced may take to end by itself, in seconds.
_RETIREMENT_SECONDS = 30.0
#: When a task runs for this time, in seconds, the tasks behind it in its child are taken back.
_RECALL_SECONDS = 0.01
#: The shortest time between two reads of answers, in seconds: each read wakes a thread of the worker.
_PAUSE_SECONDS = 0.001
#: How long before its end the successor of a child is started, in seconds: to start one takes a part of it.
_LEAD_SECONDS = 2.0


class ChildDied(Exception):
    """The child process has ended, or has closed its connection. The text is a predicate: ``was killed by SIGKILL``."""


class Process(Protocol):
    """A child process, with the interface that multiprocessing has."""

    @property
    def pid(self) -> int | None:
        """Its id; None: it has not started."""
        ...

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None: it is alive."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for ``timeout`` seconds at most."""
        ...


class Launch(Protocol):
    """Starts a child process."""

    def __call__(
        self,
        theirs: connection.Connection[Any, Any],
        permits: connection.Connection[Any, Any],
        options: WorkerOptions,
        directory: Path,
        /,
    ) -> Process:
        """Start a process that serves its end of a connection, in a directory; may raise OSError."""
        ...


def spawn(
    theirs: connection.Connection[Any, Any],
    permits: connection.Connection[Any, Any],
    options: WorkerOptions,
    directory: Path,
) -> Process:
    """Start a process of multiprocessing. It runs the main script of the worker first."""
    # Spawned, not forked: a task must share nothing with the worker, above all no connections.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=child.serve, args=(theirs, permits, options, directory), name="drivetrain-child")
    process.start()
    return process


@frozen
class Broken:
    """The end of a batch in which the child has ended.

    Attributes:
        run: the run in which it ended; None: it ended between two runs.
        error: how it ended. `TaskTimeout`: the run took too long, and the child was killed.
    """

    run: Run | None
    error: ChildDied | TaskTimeout


@define(eq=False)
class _Child:
    """A child process and its connections."""

    process: Process
    channel: Channel
    permits: Permits
    #: The modules that it was asked to import, each with a task in it.
    asked: dict[str, TaskReference] = field(factory=dict)
    #: The modules that it has imported. The time of imports counts for no task.
    imported: set[str] = field(factory=set)
    #: How many imports it was asked for, and has not answered.
    importing: int = 0
    #: How many batches it was given.
    batches: int = 0
    #: How many tasks it has run.
    ran: int = 0
    #: How much memory it used when it declared itself full, in bytes; None: it has not.
    full_bytes: int | None = None

    def close(self) -> None:
        """Close its connections; then it ends by itself."""
        self.channel.close()
        self.permits.close()


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
        self._successor: _Child | None = None
        #: How many children were replaced since they had run enough tasks, or used too much memory.
        self.replaced = 0
        #: Guards the attributes below, and the processes.
        self._lock = threading.Lock()
        self._child: _Child | None = None
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
        _retire(current)
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
            _end(successor)

    # A batch

    def _collect(
        self,
        current: _Child,
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
        current: _Child,
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

    def _recall(self, current: _Child, pending: deque[Run], recalled: Callable[[Sequence[Run]], None]) -> None:
        """Take back the runs that the child has not begun."""
        number = current.permits.take(len(pending))
        if number:
            back = [pending.pop() for _ in range(number)]
            recalled(back[::-1])

    def _broken(
        self,
        current: _Child,
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

    def _start(self) -> _Child:
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
        return _Child(process, Channel(ours), Permits(reader, writer))

    def _start_like(self, other: _Child) -> _Child:
        """Start a child, and let it import what ``other`` has imported."""
        started = self._start()
        for module in sorted(other.imported):
            self._ask_import(started, other.asked[module])
        return started

    def _prepare_successor(self, current: _Child, number: int, mean_seconds: float) -> None:
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

    def _take_successor(self) -> _Child | None:
        with self._lock:
            successor, self._successor = self._successor, None
        return successor

    def _use(self, started: _Child) -> None:
        with self._lock:
            self._child = started
            if self._closed:
                self._kill()

    def _dismiss_child(self) -> None:
        with self._lock:
            dismissed, self._child = self._child, None
        if dismissed is not None:
            _end(dismissed)

    def _reap(self) -> str:
        """Clean up after a child that has died or closed its connection; how it ended, in words."""
        assert self._child is not None  # noqa: S101
        code = _exit_code_soon(self._child.process)
        self._dismiss_child()
        return "closed the connection to its worker" if code is None else describe_exit(code)

    def _lives(self) -> bool:
        with self._lock:
            return self._child is not None and self._child.process.exitcode is None

    def _idle(self, current: _Child) -> bool:
        """Whether the child waits for an order: it lives, and its end of the connection is open."""
        try:
            return self._lives() and (current.importing > 0 or not current.channel.has_data())
        except OSError:
            return False

    # Imports

    def _ask_import(self, asked: _Child, task: TaskReference) -> None:
        asked.asked[task.module] = task
        asked.channel.send(child.Import(task))
        asked.importing += 1

    def _await_import(self, asked: _Child) -> str | None:
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


def _retire(old: _Child) -> None:
    """Let a child end by itself, in a thread that cleans up after it."""
    old.close()
    try:
        threading.Thread(target=partial(_see_off, old.process), name="drivetrain-retired", daemon=True).start()
    except RuntimeError:  # the system starts no more threads
        old.process.kill()
        old.process.join(_LAST_SECONDS)


def _see_off(process: Process) -> None:
    process.join(_RETIREMENT_SECONDS)
    if process.exitcode is None:  # a thread of a task may keep it alive
        process.kill()
    process.join(_LAST_SECONDS)


def _end(ended: _Child) -> None:
    ended.close()
    ended.process.kill()
    ended.process.join(_LAST_SECONDS)


def _exit_code_soon(process: Process) -> int | None:
    """The exit code of a process that has closed its connection; None: it still runs after a short wait."""
    # Not with `join`, which would wait without limit for a process that has closed all its files.
    end = time.monotonic() + _FAREWELL_SECONDS
    while (code := process.exitcode) is None and time.monotonic() < end:
        time.sleep(_FAREWELL_PAUSE_SECONDS)
    return code
