"""The processes pool: one child process for each slot, so that a crash or a time limit ends only one task.

A slot hands short tasks to its child in batches, since each hand-over costs as much as dozens of them. The child
answers after each task. When one takes long, the slot takes back those behind it, and any slot runs them.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from drivetrain.contract import reset_after_fork
from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.batches.running import result_of_rows
from drivetrain.worker.execution import Execution, RunRefused
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools.channel import BATCHES
from drivetrain.worker.pools.child_process import ChildDied
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.pools.slot import Slot
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.threads import Threads

__all__ = ["ProcessPool"]

logger = get_logger("drivetrain.worker")

#: How long a batch should take, in seconds: enough to hide a hand-over, and little enough to share a backlog.
_BATCH_SECONDS = 0.005
#: The largest number of tasks in a batch.
_LARGEST_BATCH = 100 if BATCHES else 1
#: From this size of its messages on, a batch gets no more tasks; bytes.
_LARGEST_BATCH_BYTES = 1_000_000
#: The weight of a new measurement in the moving average.
_WEIGHT = 0.1


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
        self._waiting: deque[Run] = deque()
        self._changed = threading.Condition()
        self._size = size
        self._slots = [Slot(options, directory, progress_sink=execution.progress_sink) for _ in range(size)]
        #: The moving average of the time that a task runs, in seconds; long until it is measured. It is a geometric
        #: one: a task that is long for once shortens no batches, since those behind it are taken back.
        self._run_seconds = 1.0
        self._references: dict[str, tuple[TaskDefinition, TaskReference]] = {}
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

    @property
    def replaced_children(self) -> int:
        """How many children were replaced since they had run enough tasks, or used too much memory."""
        return sum(slot.replaced for slot in self._slots)

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        with self._changed:
            self._waiting.extend(runs)
            self._changed.notify(len(runs))

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        with self._changed:
            runs = list(self._waiting)
            self._waiting.clear()
        return runs

    def cancel(self, run: Run) -> None:
        """Kill the process that runs it."""
        for slot in self._slots:
            slot.kill(run)

    def stop(self) -> None:
        """See `RunPool.stop`."""
        atexit.unregister(self.stop)
        self._ending.set()
        with self._changed:
            self._changed.notify_all()
        for slot in self._slots:
            slot.close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: a forked child must not stop the pool of its parent when it ends."""
        atexit.unregister(self.stop)

    def _work(self, slot: Slot) -> None:
        while batch := self._next(slot):
            self._attempt(slot, batch)
            slot.renew()
        slot.dismiss()

    def _next(self, slot: Slot) -> list[Run]:
        """The next runs for a slot; none: the pool stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending.is_set())
            if self._ending.is_set():
                return []
            share = -(-len(self._waiting) // self._size)
            number = min(share, int(_BATCH_SECONDS / self._run_seconds), _LARGEST_BATCH)
            if slot.room is not None:
                number = min(number, slot.room)
            batch, size = [self._waiting.popleft()], 0
            while len(batch) < number and size < _LARGEST_BATCH_BYTES and not _is_of_rows(batch[-1], self._waiting[0]):
                batch.append(self._waiting.popleft())
                size += len(batch[-1].delivery.message.body)
            return batch

    def _return(self, runs: Sequence[Run]) -> None:
        """Put back runs that have not begun, before all others: they came first."""
        for run in runs:
            run.began = None
        with self._changed:
            self._waiting.extendleft(reversed(runs))
            self._changed.notify(len(runs))

    def _attempt(self, slot: Slot, batch: Sequence[Run]) -> None:
        ready: list[tuple[Run, TaskReference]] = []
        for number, run in enumerate(batch):
            try:
                task = self._reference(run.definition)
                if not ready or task.module != ready[-1][1].module:
                    slot.prepare(task)
                ready.append((run, task))
            except BaseException as error:  # noqa: BLE001 - a failed start or import: it ends this run only
                self._return([*(one for one, _ in ready), *batch[number + 1 :]])
                self._end(run, error)
                return
        if admitted := [entry for entry in ready if self._admit(entry[0])]:
            admitted[0][0].began = self._execution.now()
            broken = slot.execute_all(
                admitted,
                partial(self._answered, deque(run for run, _ in admitted[1:])),
                self._return,
                mean_seconds=self._run_seconds,
            )
            if broken is not None:
                self._end(broken.run, broken.error)

    def _reference(self, definition: TaskDefinition) -> TaskReference:
        known = self._references.get(definition.name)
        if known is None or known[0] is not definition:
            known = self._references[definition.name] = definition, TaskReference.to(definition)
        return known[1]

    def _admit(self, run: Run) -> bool:
        """Whether a run may begin. Checked last: the child may have taken long to start. The child checks again."""
        try:
            self._execution.admit(run)
        except RunRefused as error:
            self._done(self._execution.failed(run, error))
            return False
        run.began = None  # it waits behind others
        return True

    def _answered(self, behind: deque[Run], result: RunResult) -> None:
        self._run_seconds *= (max(result.run_seconds, 1e-6) / self._run_seconds) ** _WEIGHT
        if behind:
            behind.popleft().began = self._execution.now()
        self._done(result)

    def _end(self, run: Run | None, error: BaseException) -> None:
        """End a run whose child has ended, or that could not begin."""
        if not isinstance(error, ChildDied):
            assert run is not None  # noqa: S101 - only a run has a time limit
            self._done(self._execution.failed(run, error))
        elif run is None:
            logger.error("a child process %s, between two tasks", error)
        elif (result := self._broken(run, error)) is not None:
            self._done(result)

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


def _is_of_rows(*runs: Run) -> bool:
    """Whether one of these runs has rows. It goes to a child alone: once admitted, it cannot be taken back."""
    return any(isinstance(run, BatchRun) for run in runs)
