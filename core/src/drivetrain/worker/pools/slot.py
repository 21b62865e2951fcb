"""One slot of the processes pool: a child process at a time, replaced when it is of no more use."""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import child
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.run import Ending, Run

__all__ = ["ChildDied", "Slot"]

#: How often at least it is looked whether a child still lives, in seconds. Its death is seen at once, unless processes
#: that it has started hold its files open.
_LOOK_SECONDS = 1.0
#: How long the system may take to end a process that was killed, in seconds.
_LAST_SECONDS = 5.0


class ChildDied(Exception):
    """The child process has ended, or has closed the connection to its worker."""


class Slot:
    """One child process. `prepare` and `execute` are for one thread; the others may be called from any."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._connection: connection.Connection[Any, Any] | None = None
        #: The modules that the child has imported, which takes its time and is no task's.
        self._imported: set[str] = set()
        #: Held while the next three change, or a process is killed or looked at because of them.
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None
        self._run: Run | None = None
        self._closed = False

    def prepare(self, task: TaskReference) -> None:
        """Have a child process that lives and is ready for the task, however long that takes.

        Raises:
            ImportError: the task's module cannot be imported there, or its app cannot be made ready.
            ChildDied: it died on the way.
        """
        if self._connection is None or not self._idle(self._connection):
            self.dismiss()
            self._start()
        if task.module not in self._imported:
            if (trouble := self._ask(child.Import(task), None)) is not None:
                raise ImportError(f"a child process cannot import {task.module}:\n{trouble}", name=task.module)
            self._imported.add(task.module)

    def execute(self, run: Run, task: TaskReference) -> Ending:
        """The ending of ``run``, without delivery and run, as the child has made it.

        Raises:
            TaskTimeout: it took too long, and the child was killed.
            ChildDied: the child died, or closed its connection.
        """
        call = run.invocation.call
        self._serve(run)
        try:
            work = child.Work(task, run.invocation, held_until=run.held_until, expires_at=run.expires_at)
            ending: Ending = self._ask(work, call.timeout)
        finally:
            self._serve(None)
        return ending

    def kill(self, run: Run) -> None:
        """Kill the child, if it is running ``run``."""
        with self._lock:
            if self._run is run:
                self._kill()

    def close(self) -> None:
        """Kill the child, whatever it runs, and every one that is still to come."""
        with self._lock:
            self._closed = True
            self._kill()

    def _serve(self, run: Run | None) -> None:
        with self._lock:
            self._run = run
            if run is not None and run.stopped:
                self._kill()  # it was to be killed before anybody knew where it runs

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    # Its life

    def _start(self) -> None:
        # Spawned, not forked: nothing of ours, connections least of all, is to be shared with a task.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=child.serve, args=(theirs, self._options), name="drivetrain-child")
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection = ours
        with self._lock:
            self._process = process
            if self._closed:
                self._kill()

    def dismiss(self) -> None:
        """Kill the child, if there is one, and let the system forget it."""
        with self._lock:
            process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._imported.clear()
        if process is not None:
            process.kill()
            process.join(_LAST_SECONDS)

    def _lives(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.exitcode is None

    def _idle(self, ours: connection.Connection[Any, Any]) -> bool:
        """Whether the child waits for an order: it lives, and its end of the connection is open."""
        try:
            return self._lives() and not ours.poll()
        except OSError:
            return False

    # Its work

    def _ask(self, order: child.Import | child.Work, timeout_seconds: float | None) -> Any:
        """What the child answers to an order; raises TaskTimeout, or ChildDied, after which there is no child."""
        ours = self._connection
        assert ours is not None  # noqa: S101
        try:
            ours.send(order)
            if self._answers(ours, timeout_seconds):
                return ours.recv()
        except (EOFError, OSError) as error:
            self.dismiss()
            raise ChildDied from error
        self.dismiss()
        raise TaskTimeout

    def _answers(self, ours: connection.Connection[Any, Any], timeout_seconds: float | None) -> bool:
        """Wait for an answer; False: there is none within the time. Raises EOFError when there will be none."""
        end = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while (left := end - time.monotonic()) > 0:
            if ours.poll(min(left, _LOOK_SECONDS)):
                return True
            if not self._lives():
                break
        else:
            return ours.poll()
        if ours.poll():
            return True  # the last thing that it did
        raise EOFError
