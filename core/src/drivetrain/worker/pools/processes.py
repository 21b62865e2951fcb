"""The processes pool: one child process for each slot, so that a crash or a time limit ends only one task."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from drivetrain.contract import reset_after_fork
from drivetrain.worker.batches.batch_run import BatchRun, with_runs
from drivetrain.worker.batches.running import result_of_rows
from drivetrain.worker.execution import Execution
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.pools.slot import ChildDied, Slot
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.threads import Threads

__all__ = ["ProcessPool"]

logger = get_logger("drivetrain.worker")


class ProcessPool:
    """A fixed number of child processes, each with a thread that feeds it. Children start at first use."""

    def __init__(
        self,
        size: int,
        execution: Execution,
        options: WorkerOptions,
        *,
        done: Callable[[RunResult], None],
        died: Callable[[Run], None],
        threads: Threads,
        directory: Path,
    ) -> None:
        """Start it.

        Args:
            size: how many child processes.
            execution: checks that runs may begin, and makes the results of failures.
            options: the options of the worker.
            done: called with each result.
            died: called with a run whose child has died.
            threads: starts the threads that feed the children.
            directory: the working directory of the children.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        self._execution = execution
        self._done = done
        self._died = died
        self._waiting: SimpleQueue[Run | None] = SimpleQueue()
        self._slots = [Slot(options, directory, progress_sink=execution.progress_sink) for _ in range(size)]
        self._ending = threading.Event()
        # A program that exits without stopping its worker must not wait for the children.
        atexit.register(self.stop)
        reset_after_fork(self)
        try:
            for number, slot in enumerate(self._slots):
                threads.start(f"drivetrain-child-{number}", partial(self._work, slot))
        except RuntimeError:
            self.stop()  # ends the threads that have started
            raise

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        for run in runs:
            self._waiting.put(run)

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        with suppress(Empty):  # the end of the queue
            while (run := self._waiting.get_nowait()) is not None:
                runs.append(run)
            self._waiting.put(None)
        return runs

    def cancel(self, run: Run) -> None:
        """Kill the process that runs it."""
        for slot in self._slots:
            slot.kill(run)

    def stop(self) -> None:
        """See `RunPool.stop`."""
        atexit.unregister(self.stop)
        self._ending.set()
        for slot in self._slots:
            self._waiting.put(None)
            slot.close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: a forked child must not stop the pool of its parent when it ends."""
        atexit.unregister(self.stop)

    def _work(self, slot: Slot) -> None:
        while (run := self._waiting.get()) is not None:
            result = self._attempt(slot, run)
            if result is not None:
                self._done(result)
        slot.dismiss()

    def _attempt(self, slot: Slot, run: Run) -> RunResult | None:
        try:
            task = TaskReference.to(run.definition)
            slot.prepare(task)
            # Checked last, since the child may have taken long to start; the child checks again.
            self._execution.admit(run)
            result = slot.execute(run, task)
        except ChildDied as error:
            return self._broken(run, error)
        except BaseException as error:  # noqa: BLE001 - a time limit, a refused start, or a failed import: `failed` makes a result of each
            return self._execution.failed(run, error)
        return with_runs(result, run)

    def _broken(self, run: Run, error: ChildDied) -> RunResult | None:
        if self._ending.is_set():
            return None  # the pool stops and has killed the child; the run was released before
        if run.stopped:
            return self._execution.failed(run, error)  # cancelled: the pool has killed the child
        if not isinstance(run, BatchRun):
            self._release_crashed(run, error)
            return None
        for row in run.running or ():
            self._release_crashed(row, error)
        return result_of_rows(run, ())

    def _release_crashed(self, run: Run, error: ChildDied) -> None:
        logger.error("task %s: its child process %s", run.task_id, error, extra=log_extra(run.invocation))
        try:
            self._died(run)
        except Exception:  # this thread must survive an unexpected error of a driver; the lease expires
            text = "task %s cannot be released; its message will be delivered again"
            logger.exception(text, run.task_id, extra=log_extra(run.invocation))
