"""Tasks in child processes, one process to a slot: a death or a time limit ends one task and no other."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from msgspec.structs import replace

from drivetrain.contract import reset_after_fork
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
    """A fixed number of child processes, each with a thread here that feeds it. Children start at first use."""

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
            execution: lets runs begin, and makes endings of what went wrong.
            options: of the worker.
            done: called with each ending.
            died: called with a run whose child has died.
            threads: start the threads that feed the children.
            directory: where the children begin.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        self._execution = execution
        self._done = done
        self._died = died
        self._waiting: SimpleQueue[Run | None] = SimpleQueue()
        self._slots = [Slot(options, directory) for _ in range(size)]
        self._ending = threading.Event()
        # A program that ends without stopping its worker must not wait for the children.
        atexit.register(self.stop)
        reset_after_fork(self)
        try:
            for number, slot in enumerate(self._slots):
                threads.start(f"drivetrain-child-{number}", partial(self._work, slot))
        except RuntimeError:
            self.stop()  # those that were started
            raise

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        for run in runs:
            self._waiting.put(run)

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        with suppress(Empty):
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
        """See `drivetrain.contract.ForkAware`: the end of a forked child is none of this pool."""
        atexit.unregister(self.stop)

    def _work(self, slot: Slot) -> None:
        while (run := self._waiting.get()) is not None:
            ending = self._attempt(slot, run)
            if ending is not None:
                self._done(ending)
        slot.dismiss()

    def _attempt(self, slot: Slot, run: Run) -> RunResult | None:
        try:
            task = TaskReference.to(run.definition)
            slot.prepare(task)
            # Looked at last, for the child may have taken long to start; the child looks once more.
            self._execution.admit(run)
            ending = slot.execute(run, task)
        except ChildDied as error:
            return self._broken(run, error)
        except BaseException as error:  # noqa: BLE001 - its time is over, or it must not begin, or cannot be imported
            return self._execution.failed(run, error)
        return replace(ending, delivery=run.delivery, invocation=run.invocation, run=run)

    def _broken(self, run: Run, error: ChildDied) -> RunResult | None:
        if self._ending.is_set():
            return None  # killed by us, after its run was given back
        if run.stopped:
            return self._execution.failed(run, error)  # killed by us, and not to be run here again
        logger.error("task %s: its child process %s", run.task_id, error, extra=log_extra(run.invocation))
        try:
            self._died(run)
        except Exception:
            text = "task %s cannot be given back; its message will be delivered again"
            logger.exception(text, run.task_id, extra=log_extra(run.invocation))
        return None
