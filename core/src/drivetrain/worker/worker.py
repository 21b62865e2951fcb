"""The worker: receive, run and settle, three stages with bounded room between them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from drivetrain.contract import Delivery, ServiceError
from drivetrain.worker.execution import Execution
from drivetrain.worker.follow_up import FollowUp
from drivetrain.worker.heartbeat import Heartbeat
from drivetrain.worker.held import Held
from drivetrain.worker.intake import Intake
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.patience import GaveUp, Patience
from drivetrain.worker.pools import RunPool
from drivetrain.worker.pools.loop import LoopPool
from drivetrain.worker.pools.processes import ProcessPool, TaskReference
from drivetrain.worker.pools.threads import ThreadPool
from drivetrain.worker.prefetch import Prefetch
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Ending, Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.settlement import Settlement

__all__ = ["Worker"]

logger = logging.getLogger("drivetrain.worker")

#: The most endings that are settled as one batch.
_LARGEST_BATCH = 1000
#: How often a worker without room looks whether its slots are stuck, in seconds.
_FULL_WAIT_SECONDS = 0.5
#: How long the messages of runs that could not be ended stay back, so that this process is gone by then, in seconds.
_ABANDONED_DELAY_SECONDS = 1.0


class Worker:
    """Receives tasks from queues, runs them, and settles them; until it is told to stop.

    `run` blocks; `start` runs it in a thread, and so does ``with worker:``. A worker works once.
    """

    def __init__(self, runtime: Runtime, options: WorkerOptions) -> None:
        """Make it; nothing is received yet.

        Raises:
            ConfigurationError: a task asks for the processes pool and cannot be found from another process.
        """
        self._runtime = runtime
        self.options = options
        self._stopping = threading.Event()
        self._abandoning = threading.Event()
        self._grace_seconds = options.grace_seconds
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._held = Held(runtime.clock)
        self._ended: SimpleQueue[Ending | None] = SimpleQueue()
        self._build()

    def _build(self) -> None:
        runtime, options, held = self._runtime, self.options, self._held
        patience = Patience(runtime.clock, give_up=self._abandoning)
        publisher = Publisher(runtime, patience)
        follow_up = FollowUp(runtime, publisher, patience, worker=options.name)
        self._settlement = Settlement(
            runtime, options, publisher=publisher, follow_up=follow_up, patience=patience, held=held
        )
        self._intake = Intake(
            runtime, options, publisher=publisher, settlement=self._settlement, patience=patience, held=held
        )
        self._patience = patience
        self._receiving = Patience(runtime.clock, give_up=self._stopping)
        self._execution = Execution(runtime, options)
        self._heartbeat = Heartbeat(runtime, held, lease_seconds=options.lease_seconds, stopped=self._stop_run)
        self._makers: dict[Pool, Callable[[], RunPool]] = {
            Pool.THREADS: lambda: ThreadPool(options.concurrency, self._execution, runtime.clock, self._ended.put),
            Pool.LOOP: lambda: LoopPool(options.loop_concurrency, self._execution, self._ended.put),
            Pool.PROCESSES: lambda: ProcessPool(
                options.concurrency, self._execution, options, self._ended.put, self._settlement.give_up
            ),
        }
        self._pools: dict[Pool, RunPool] = {}
        self._check_tasks()
        self._prefetch = Prefetch(self._slots(), options.prefetch_limit)
        self._last_ending = runtime.clock.monotonic()

    # Life

    def run(self) -> None:
        """Work until `stop` is called; then finish as it says."""
        observers = self._runtime.observers
        logger.info("worker %s receives from %s", self.options.name, ", ".join(self.options.queues))
        observers.notify("worker_started", worker=self.options.name, queues=self.options.queues)
        settler = threading.Thread(target=self._settle_all, name="drivetrain-settle", daemon=True)
        heart = threading.Thread(target=self._heartbeat.run, name="drivetrain-heartbeat", daemon=True)
        settler.start()
        heart.start()
        try:
            while not self._stopping.is_set():
                self._receive_once()
        finally:
            observers.notify("worker_stopping", worker=self.options.name)
            self._finish()
            self._ended.put(None)
            settler.join(timeout=10)
            self._heartbeat.stop()
            heart.join(timeout=10)
            logger.info("worker %s has stopped", self.options.name)

    def start(self) -> Worker:
        """`run` in a thread."""
        self._thread = threading.Thread(target=self._run_in_thread, name="drivetrain-worker", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, grace_seconds: float | None = None, wait: bool = True) -> None:
        """Take nothing new, give back what has not begun, finish what runs; then end.

        Args:
            grace_seconds: how long what runs may take; then it is given back too. None: as the options say.
            wait: wait until a worker that was started by `start` has ended.

        May be called more than once, from any thread and from signal handlers; the shortest grace counts.
        """
        if grace_seconds is not None:
            self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._stopping.set()
        if self._grace_seconds == 0:
            self._abandoning.set()
        if wait and self._thread is not None:
            self._held.wake()
            self._thread.join()
            if self._failed is not None:
                raise self._failed

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def drain(self) -> int:
        """Receive, run and settle in this thread all that is ready now, without waiting; how many tasks ran.

        For tests: no other thread is started, so that what happens is the same every time.
        """
        ran = 0
        while deliveries := self._intake.receive(self.options.concurrency, 0.0):
            runs = self._intake.start(deliveries)
            self._settlement.settle([self._execution.run_here(run) for run in runs])
            ran += len(runs)
        return ran

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._failed = error
            logger.exception("worker %s has failed", self.options.name)
            raise

    # Receive

    def _receive_once(self) -> None:
        room = self._room()
        if room <= 0:
            self._wait_for_room()
            return
        try:
            deliveries = self._receiving.call("receive", lambda: self._receive(room))
            self._take(deliveries)
        except GaveUp:
            return
        except Exception:
            # Nothing is lost: what was received comes again when its hold ends.
            logger.exception("receiving failed in a way that nobody thought of; going on")
            self._runtime.clock.wait_event(self._stopping, 1.0)

    def _receive(self, room: int) -> Sequence[Delivery]:
        if self._stopping.is_set():
            return ()
        return self._intake.receive(room, self._runtime.broker.capabilities.receive_wait_seconds)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._stopping.is_set():
            self._patience.call("release", lambda: self._runtime.broker.release(deliveries))
            return
        self._submit(self._intake.start(deliveries))

    def _submit(self, runs: Sequence[Run]) -> None:
        for pool, together in groupby(runs, key=lambda run: run.definition.pool):
            self._pool(pool).submit(list(together))

    def _room(self) -> int:
        stalled = self._runtime.clock.monotonic() - self._last_ending if len(self._held) >= self._slots() else 0.0
        window = self._prefetch.window(stalled)
        room = window - len(self._held)
        # With short tasks a little room is not worth a round trip yet.
        return room if room >= (window - self._slots()) // 4 else 0

    def _wait_for_room(self) -> None:
        below = len(self._held) - (self._prefetch.window(0.0) - self._slots()) // 4
        if not self._held.wait_below(max(below, 1), _FULL_WAIT_SECONDS):
            self._return_stuck()

    def _return_stuck(self) -> None:
        """What waits behind long tasks here may be run at once by somebody else."""
        if self._runtime.clock.monotonic() - self._last_ending >= _FULL_WAIT_SECONDS:
            self._settlement.give_back([run for pool in self._pools.values() for run in pool.take_back()])

    # Run

    def _pool(self, pool: Pool) -> RunPool:
        if pool not in self._pools:
            self._pools[pool] = self._makers[pool]()
        return self._pools[pool]

    def _slots(self) -> int:
        pools = Counter(definition.pool for definition in self._runtime.registry.values())
        return max((self._size(pool) for pool in pools), default=self.options.concurrency)

    def _size(self, pool: Pool) -> int:
        return self.options.loop_concurrency if pool is Pool.LOOP else self.options.concurrency

    def _check_tasks(self) -> None:
        for definition in self._runtime.registry.values():
            definition.binding.compile()
            if definition.pool is Pool.PROCESSES:
                TaskReference.to(definition)

    def _stop_run(self, run: Run) -> None:
        if (pool := self._pools.get(run.definition.pool)) is not None:
            pool.cancel(run)

    # Settle

    def _settle_all(self) -> None:
        began = self._runtime.clock.monotonic()
        while (first := self._ended.get()) is not None:
            endings = [first, *self._ended_too()]
            now = self._runtime.clock.monotonic()
            mean = sum(ending.run_seconds for ending in endings) / len(endings)
            self._prefetch.settled(len(endings), mean, now - began)
            self._last_ending = began = now
            try:
                self._settlement.settle(endings)
            except GaveUp:
                return
            except ServiceError:
                logger.exception("%d tasks could not be settled; their messages will come again", len(endings))

    def _ended_too(self) -> list[Ending]:
        endings: list[Ending] = []
        try:
            while len(endings) < _LARGEST_BATCH:
                ending = self._ended.get_nowait()
                if ending is None:
                    self._ended.put(None)
                    break
                endings.append(ending)
        except Empty:
            pass  # that is all there is for now
        return endings

    # Finish

    def _finish(self) -> None:
        finished = threading.Event()
        threading.Thread(target=self._end_grace, args=(finished,), name="drivetrain-grace", daemon=True).start()
        try:
            self._settlement.give_back([run for pool in self._pools.values() for run in pool.take_back()])
            while len(self._held) and not self._abandoning.is_set():
                self._held.wait_below(1, 0.2)
            self._abandon()
        except GaveUp:
            logger.warning("stopped while a service was away; what was not settled is delivered again")
        finished.set()
        for pool in self._pools.values():
            pool.stop()

    def _end_grace(self, finished: threading.Event) -> None:
        clock = self._runtime.clock
        began = clock.monotonic()
        # Looked at again and again, for a second signal may end the grace.
        while (left := began + self._grace_seconds - clock.monotonic()) > 0:
            if clock.wait_event(finished, min(left, 0.2)):
                return
        self._abandoning.set()
        self._held.wake()

    def _abandon(self) -> None:
        runs = self._held.all()
        if not runs:
            return
        logger.warning("%d tasks still run at the end of the grace period; they are given back", len(runs))
        for run in runs:
            run.stopped = True
            self._stop_run(run)
        self._settlement.give_back(runs, delay_seconds=_ABANDONED_DELAY_SECONDS)
