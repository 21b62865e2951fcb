"""A slot for tasks in child processes: one process at a time, replaced when it has ended."""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from multiprocessing import connection
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, Protocol

from drivetrain.worker.batches.batch_run import BatchRun, rows_of
from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.process_exit import describe_exit
from drivetrain.worker.progress import ProgressSink
from drivetrain.worker.run import Run, RunResult

__all__ = ["ChildDied", "Launch", "Process", "Slot", "spawn"]

#: How often to check whether a child is alive, in seconds. Usually its death is seen at once, except while processes
#: that it has started keep its files open.
_POLL_SECONDS = 1.0
#: How long a child that has closed its connection may take to end by itself, in seconds.
_FAREWELL_SECONDS = 1.0
#: How often to check whether it has ended, in seconds.
_FAREWELL_PAUSE_SECONDS = 0.005
#: How long the system may take to end a process that was killed, in seconds.
_LAST_SECONDS = 5.0


class ChildDied(Exception):
    """The child process has ended, or has closed its connection. The text is a predicate: ``was killed by SIGKILL``."""


class Process(Protocol):
    """A child process, with the interface that multiprocessing has."""

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

    def __call__(self, theirs: connection.Connection[Any, Any], options: WorkerOptions, directory: Path, /) -> Process:
        """Start a process that serves its end of a connection, in a directory; may raise OSError."""
        ...


def spawn(theirs: connection.Connection[Any, Any], options: WorkerOptions, directory: Path) -> Process:
    """Start a process of multiprocessing. It runs the main script of the worker first."""
    # Spawned, not forked: a task must share nothing with the worker, above all no connections.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=child.serve, args=(theirs, options, directory), name="drivetrain-child")
    process.start()
    return process


class Slot:
    """One child process. `prepare` and `execute` are for one thread; the others may be called from any."""

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
        #: Whether its process, if there is one, has run nothing yet.
        self.fresh = True
        self._options = options
        self._directory = directory
        self._launch = launch
        self._connection: connection.Connection[Any, Any] | None = None
        #: The modules that the child has imported. The time of imports counts for no task.
        self._imported: set[str] = set()
        #: Guards the three attributes below, and the process.
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._run: Run | None = None
        self._closed = False

    def prepare(self, task: TaskReference) -> None:
        """Make sure that a child process is alive and ready for the task. May take long.

        Raises:
            ImportError: the child cannot import the task's module, or prepare its app.
            ChildDied: the child died meanwhile.
        """
        if self._connection is None or not self._idle(self._connection):
            self.dismiss()
            self._start()
        if task.module not in self._imported:
            if (trouble := self._ask(child.Import(task), None)) is not None:
                raise ImportError(f"a child process cannot import {task.module}:\n{trouble}", name=task.module)
            self._imported.add(task.module)

    def execute(self, run: Run, task: TaskReference) -> RunResult:
        """Run it in the child, and return its result without the delivery and the run.

        Raises:
            TaskTimeout: it took too long, and the child was killed.
            ChildDied: the child died, or closed its connection.
        """
        call = run.invocation.call
        self.fresh = False
        self._serve(run)
        try:
            work = _work(run, task)
            result: RunResult = self._ask(work, call.timeout)
        finally:
            self._serve(None)
        return result

    def kill(self, run: Run) -> None:
        """Kill the child, if it is running ``run``."""
        with self._lock:
            if self._run is run:
                self._kill()

    def close(self) -> None:
        """Kill the child, and each child that starts later."""
        with self._lock:
            self._closed = True
            self._kill()

    def _serve(self, run: Run | None) -> None:
        with self._lock:
            self._run = run
            if run is not None and run.stopped:
                self._kill()  # it was cancelled before it had a slot

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    # The process

    def _start(self) -> None:
        ours, theirs = Pipe()
        try:
            process = self._launch(theirs, self._options, self._directory)
        except BaseException:  # raised again: no process has the other end
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection, self.fresh = ours, True
        with self._lock:
            self._process = process
            if self._closed:
                self._kill()

    def dismiss(self) -> None:
        """Kill the child and clean up after it, if there is one."""
        with self._lock:
            process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._imported.clear()
        if process is not None:
            process.kill()
            process.join(_LAST_SECONDS)

    def _reap(self) -> str:
        """Clean up after a child that has died or closed its connection; how it ended, in words."""
        assert self._process is not None  # noqa: S101
        code = _exit_code_soon(self._process)
        self.dismiss()
        return "closed the connection to its worker" if code is None else describe_exit(code)

    def _lives(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.exitcode is None

    def _idle(self, ours: connection.Connection[Any, Any]) -> bool:
        """Whether the child waits for an order: it lives, and its end of the connection is open."""
        try:
            return self._lives() and not ours.poll()
        except OSError:
            return False

    # Orders

    def _ask(self, order: child.Import | child.Work, timeout_seconds: float | None) -> Any:
        """Send an order, and return the child's answer. After TaskTimeout or ChildDied there is no child."""
        ours = self._connection
        assert ours is not None  # noqa: S101
        end = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            ours.send(order)
            while self._answers(ours, end):
                answer = ours.recv()
                if not isinstance(answer, child.Report):
                    return answer
                self._report(answer)
        except (EOFError, OSError) as error:
            raise ChildDied(self._reap()) from error
        self.dismiss()
        raise TaskTimeout

    def _report(self, report: child.Report) -> None:
        with self._lock:
            run = self._run
        if run is not None and self._progress_sink is not None:
            for one in rows_of([run]):
                if one.task_id == report.task_id:
                    self._progress_sink.report(one, report.progress)

    def _answers(self, ours: connection.Connection[Any, Any], end: float) -> bool:
        """Wait for an answer until ``end`` (monotonic); False: there is none. Raises EOFError if there can be none."""
        while (remaining := end - time.monotonic()) > 0:
            if ours.poll(min(remaining, _POLL_SECONDS)):
                return True
            if not self._lives():
                break
        else:
            return ours.poll()
        if ours.poll():
            return True  # it answered before it died
        raise EOFError


def _work(run: Run, task: TaskReference) -> child.Work:
    return child.Work(
        task,
        run.invocation,
        received_at=run.received_at,
        headers=dict(run.delivery.message.headers),  # drivers may have any mapping
        owned_until=run.owned_until,
        expires_at=run.expires_at,
        limit_waits=run.limit_waits,
        rows=tuple(_work(row, task) for row in run.running or ()) if isinstance(run, BatchRun) else (),
    )


def _exit_code_soon(process: Process) -> int | None:
    """The exit code of a process that has closed its connection; None: it still runs after a short wait."""
    # Not with `join`, which would wait without limit for a process that has closed all its files.
    end = time.monotonic() + _FAREWELL_SECONDS
    while (code := process.exitcode) is None and time.monotonic() < end:
        time.sleep(_FAREWELL_PAUSE_SECONDS)
    return code
