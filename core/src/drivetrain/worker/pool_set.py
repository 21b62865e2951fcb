"""The pools of a worker. Each is made when its first task comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from drivetrain.worker.execution import Execution
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import RunPool
from drivetrain.worker.pools.threads import ThreadPool
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settler import Settler
from drivetrain.worker.threads import Threads

if TYPE_CHECKING:
    from drivetrain.worker.pools.processes import ProcessPool

__all__ = ["PoolSet"]

logger = get_logger("drivetrain.worker")

#: How long runs stay back that a pool could not begin, in seconds.
_RETRY_DELAY_SECONDS = 1.0


class PoolSet:
    """The pools of one worker. Thread-safe.

    Args:
        runtime: the drivers and settings of the app.
        options: the options of the worker.
        execution: runs the functions.
        releaser: releases runs that cannot begin.
        settler: takes the results.
        threads: starts threads.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        execution: Execution,
        releaser: Releaser,
        settler: Settler,
        threads: Threads,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._execution = execution
        self._releaser = releaser
        self._settler = settler
        self._threads = threads
        self._makers: dict[Pool, Callable[[], RunPool]] = {
            Pool.THREADS: self._thread_pool,
            Pool.LOOP: self._loop_pool,
            Pool.PROCESSES: self._process_pool,
        }
        self._pools: dict[Pool, RunPool] = {}
        #: The threads of the pacer and of the batches hand over runs too.
        self._making = threading.Lock()
        self._processes: ProcessPool | None = None

    def submit(self, runs: Sequence[Run]) -> None:
        """Hand each run to its pool. Runs that a pool cannot begin are released."""
        for kind, together in groupby(runs, key=lambda run: run.definition.pool):
            batch = list(together)
            try:
                self.get(kind).submit(batch)
            except Exception:  # the system may start no more threads or processes here; another worker may have room
                logger.exception("%d tasks cannot begin in the pool %s; releasing them", len(batch), kind.value)
                self._releaser.release(batch, delay_seconds=_RETRY_DELAY_SECONDS)

    def take_back(self, which: Callable[[Pool], bool] = lambda _pool: True) -> list[Run]:
        """Remove the runs that have not begun from the pools that ``which`` chooses; these runs."""
        return [run for kind, pool in self._pools.items() if which(kind) for run in pool.take_back()]

    def cancel(self, run: Run) -> None:
        """Stop a run, where its pool can stop one."""
        if (pool := self._pools.get(run.definition.pool)) is not None:
            pool.cancel(run)

    def replaced_children(self) -> int:
        """How many child processes were replaced since they had run enough tasks, or used too much memory."""
        return 0 if self._processes is None else self._processes.replaced_children

    def stop(self) -> None:
        """End the threads and processes of all pools."""
        for pool in self._pools.values():
            pool.stop()

    def get(self, kind: Pool) -> RunPool:
        """The pool of this kind, made at the first call."""
        if (pool := self._pools.get(kind)) is None:
            with self._making:
                if (pool := self._pools.get(kind)) is None:
                    pool = self._pools[kind] = self._makers[kind]()
        return pool

    def _thread_pool(self) -> RunPool:
        concurrency, clock = self._options.concurrency, self._runtime.clock
        return ThreadPool(concurrency, self._execution, clock, self._settler.settle_or_put, self._threads)

    # These two import megabytes that most workers do not need.

    def _loop_pool(self) -> RunPool:
        from drivetrain.worker.pools.loop import LoopPool

        return LoopPool(self._options.loop_concurrency, self._execution, self._settler.put, self._threads)

    def _process_pool(self) -> RunPool:
        from drivetrain.worker.pools.processes import ProcessPool

        self._processes = ProcessPool(
            self._options.concurrency,
            self._execution,
            self._options,
            done=self._settler.put,
            died=self._releaser.release_crashed,
            threads=self._threads,
            directory=self._runtime.directory,
        )
        return self._processes
