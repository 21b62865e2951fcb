"""The worker: receive, run and settle, three stages with bounded room between them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from drivetrain.contract import Broker, Delivery, WorkerFailed
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.execution import Execution
from drivetrain.worker.finishing import Finisher
from drivetrain.worker.flow_control import STUCK_SECONDS, FlowControl
from drivetrain.worker.heartbeat import Heartbeat
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import RunPool
from drivetrain.worker.pools.threads import ThreadPool
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.receiving import Receiver
from drivetrain.worker.registry import Pool
from drivetrain.worker.rescuer import rescuer
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.threads import Threads

if TYPE_CHECKING:
    from drivetrain.worker.isolation import Isolation

__all__ = ["Worker"]

logger = get_logger("drivetrain.worker")

#: The most endings that are settled as one batch.
_LARGEST_BATCH = 1000
#: How long nothing more is asked for, at most, while one task runs alone; in seconds. Most have ended by then.
_LONE_SECONDS = 0.001
#: How long messages stay back that this worker took and has no room for, in seconds: for others to get ahead of it.
_EXCESS_DELAY_SECONDS = 0.05
#: How long the messages of runs that could not be ended stay back, so that this process is gone by then, in seconds.
_ABANDONED_DELAY_SECONDS = 1.0


class Worker:
    """Receives tasks from queues, runs them, and settles them; until it is told to stop.

    `run` blocks; `start` runs it in a thread, and so does ``with worker:``. A worker works once.
    """

    def __init__(self, runtime: Runtime, options: WorkerOptions, *, owns_broker: bool = False) -> None:
        """Make it; nothing is received yet.

        Args:
            runtime: whose drivers.
            options: how it works.
            owns_broker: whether nobody else uses the broker object, which is then closed in the end.

        Raises:
            ConfigurationError: a task asks for the processes pool and cannot be found from another process.
        """
        self._runtime = runtime
        self.options = options
        self._owns_broker = owns_broker
        self._process = os.getpid()
        #: Whether it has ended, after which it receives no more.
        self.ended = False
        self._stopping = threading.Event()
        self._abandoning = threading.Event()
        self._grace_seconds = options.grace_seconds
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._threads = Threads(self.fail)
        #: The first thread that has failed, by its name, and why.
        self._failure: tuple[str, BaseException] | None = None
        self._in_flight = InFlight(runtime.clock)
        self._ended: SimpleQueue[RunResult | None] = SimpleQueue()
        self._build()

    def _build(self) -> None:
        runtime, options, in_flight = self._runtime, self.options, self._in_flight
        retrier = Retrier(runtime.clock, give_up=self._abandoning)
        publisher = Publisher(runtime, retrier, worker=True)
        effect_runner = EffectRunner(runtime, publisher, retrier, worker=options.name)
        self._finisher = Finisher(
            runtime, options, publisher=publisher, effect_runner=effect_runner, retrier=retrier, in_flight=in_flight
        )
        self._receiver = Receiver(
            runtime, options, publisher=publisher, finisher=self._finisher, retrier=retrier, in_flight=in_flight
        )
        self._retrier = retrier
        self._receiving = Retrier(runtime.clock, give_up=self._stopping)
        self._execution = Execution(runtime, options)
        self._heartbeat = Heartbeat(runtime, in_flight, lease_seconds=options.lease_seconds, stopped=self._stop_run)
        self._makers: dict[Pool, Callable[[], RunPool]] = {
            Pool.THREADS: self._thread_pool,
            Pool.LOOP: self._loop_pool,
            Pool.PROCESSES: self._process_pool,
        }
        self._pools: dict[Pool, RunPool] = {}
        #: Runs suspects; made for the first one.
        self._isolation: Isolation | None = None
        self._check_tasks()
        sizes = {pool: options.loop_concurrency if pool is Pool.LOOP else options.concurrency for pool in Pool}
        used = {definition.pool for definition in runtime.registry.values()}
        self._flow_control = FlowControl(runtime.clock, in_flight, sizes, used, options.prefetch_limit)

    # Life

    def run(self) -> None:
        """Work until `stop` is called; then finish as it says.

        Raises:
            RuntimeError: it was made in another process, which this one was forked from.
            WorkerFailed: a thread of it has failed; everything was given back.
        """
        self._check_process()
        observers = self._runtime.observers
        logger.info(
            "worker %s receives from %s%s", self.options.name, ", ".join(self.options.queues), self._startup_warnings()
        )
        observers.notify("worker_started", worker=self.options.name, queues=self.options.queues)
        settler = self._threads.start("drivetrain-settle", self._settle_all)
        heart = self._threads.start("drivetrain-heartbeat", self._heartbeat.run)
        stop_rescue = self._start_rescue()
        try:
            while not self._stopping.is_set():
                self._receive_once()
        finally:
            observers.notify("worker_stopping", worker=self.options.name)
            try:
                self._finish()
            finally:
                self._ended.put(None)
                settler.join(timeout=10)
                self._heartbeat.stop()
                heart.join(timeout=10)
                stop_rescue()
                self._let_go()
            logger.info("worker %s has stopped", self.options.name)
        if self._failure is not None:
            name, error = self._failure
            raise WorkerFailed(
                f"worker {self.options.name} has stopped, since its thread {name} failed; start another"
            ) from error

    def fail(self, thread: str, error: BaseException) -> None:
        """Give back everything and stop, since a thread that the worker needs has failed; `run` then raises.

        Args:
            thread: its name.
            error: what it raised.
        """
        self._failure = self._failure or (thread, error)
        self.stop(grace_seconds=0.0, wait=False)
        self._in_flight.wake()

    def _start_rescue(self) -> Callable[[], None]:
        """Look for lost tasks in a thread beside this one, if it is set to; what ends that."""
        rescue = rescuer(self._runtime, self.options)
        if rescue is None:
            return lambda: None
        thread = self._threads.start("drivetrain-rescue", rescue.run)

        def stop() -> None:
            rescue.stop()
            thread.join(timeout=10)

        return stop

    def _startup_warnings(self) -> str:
        """What looks like a mistake in how it was started, and may be none."""
        definitions = self._runtime.registry.values()
        if not definitions:
            return "; it knows no task: the app's module must import the modules that define them"
        named = {definition.defaults.queue for definition in definitions}
        if named.isdisjoint(self.options.queues):
            return f"; its own tasks go to {', '.join(sorted(named))}, unless who sends them says otherwise"
        return ""

    def _let_go(self) -> None:
        self.ended = True
        if self._owns_broker:
            self._runtime.broker.close()

    def start(self) -> Worker:
        """`run` in a thread."""
        self._check_process()
        self._thread = threading.Thread(target=self._run_in_thread, name="drivetrain-worker", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, grace_seconds: float | None = None, wait: bool = True) -> None:
        """Take nothing new, give back what has not begun, finish what runs; then end.

        Args:
            grace_seconds: how long what runs may take; then it is given back too. None: as the options say.
            wait: wait until a worker that was started by `start` has ended.

        May be called more than once, from any thread and from signal handlers; the shortest grace counts. In a forked
        child it does nothing: the worker is the parent's.
        """
        if self._process != os.getpid():
            return
        if grace_seconds is not None:
            self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._stopping.set()
        if self._grace_seconds == 0:
            self._abandoning.set()
        if wait and self._thread is not None:
            self._in_flight.wake()
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
        self._check_process()
        ran = 0
        while deliveries := self._receiver.receive(self.options.concurrency, 0.0):
            runs = self._receiver.start(deliveries)
            self._finisher.settle([self._run_now(run) for run in runs])
            ran += len(runs)
        return ran

    def _run_now(self, run: Run) -> RunResult:
        return self._execution.run_here(run) if run.lone is None else self._isolating().run_now(run)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                f"worker {self.options.name} was made in process {self._process}, and cannot work in process "
                f"{os.getpid()}, which was forked from it; call app.worker() in the process that runs it"
            )

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._failed = error
            logger.critical("worker %s has failed", self.options.name, exc_info=error)

    def receives_from(self, broker: Broker) -> bool:
        """Whether it receives, or will, with this very object."""
        return not self.ended and self._runtime.broker is broker

    @property
    def abandoned(self) -> bool:
        """Whether it gives back what still runs, which may go on in this process."""
        return self._abandoning.is_set()

    # Receive

    def _receive_once(self) -> None:
        try:
            self._return_stuck()
            if self._isolation is not None and self._isolation.wants_worker:
                self._make_way(self._isolation)
                return
            room = self._flow_control.room()
            if room <= 0:
                self._in_flight.wait_below(max(1, len(self._in_flight) - self._flow_control.slack()), STUCK_SECONDS)
                return
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
        wait = self._runtime.broker.capabilities.receive_wait_seconds
        # While something waits in a pool, look now and then whether it is stuck there.
        return self._receiver.receive(
            room, min(wait, STUCK_SECONDS) if any(map(self._flow_control.waits, Pool)) else wait
        )

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if self._stopping.is_set():
            self._retrier.call("release", lambda: self._runtime.broker.release(deliveries))
            return
        runs = self._isolate(self._receiver.start(deliveries))
        excess = self._flow_control.excess(runs)
        if excess:
            self._finisher.give_back(excess, delay_seconds=_EXCESS_DELAY_SECONDS)
            runs = [run for run in runs if run not in excess]
        self._submit(runs)
        if len(runs) == len(self._in_flight) == 1:
            # Asking for more beside it would take interpreter and broker from the one task that there is.
            self._in_flight.wait_below(1, _LONE_SECONDS)
        if excess and not runs:
            self._in_flight.wait_below(len(self._in_flight), STUCK_SECONDS)

    def _isolate(self, runs: list[Run]) -> list[Run]:
        """Hand the suspects among ``runs`` over; the others."""
        suspects = [run for run in runs if run.lone is not None]
        if not suspects:
            return runs
        try:
            self._isolating().submit(suspects)
        except Exception:
            logger.exception("%d tasks could not be begun, and are given back", len(suspects))
            self._finisher.give_back(suspects, delay_seconds=1.0)
        return [run for run in runs if run.lone is None]

    def _make_way(self, isolation: Isolation) -> None:
        """Come to run nothing but one suspect, and take nothing new meanwhile."""
        if not isolation.has_worker:
            self._give_back_waiting()
            if self._in_flight.only_suspects():
                isolation.grant()
        self._in_flight.wait_below(max(1, len(self._in_flight)), STUCK_SECONDS)

    def _submit(self, runs: Sequence[Run]) -> None:
        for pool, together in groupby(runs, key=lambda run: run.definition.pool):
            batch = list(together)
            try:
                self._pool(pool).submit(batch)
            except Exception:
                # No thread or process can be started, for instance; somebody else may have more luck.
                logger.exception("%d tasks could not be begun, and are given back", len(batch))
                self._finisher.give_back(batch, delay_seconds=1.0)

    def _return_stuck(self) -> None:
        """What waits behind long tasks here may be run at once by somebody else."""
        stuck = [pool for kind, pool in self._pools.items() if self._flow_control.stuck(kind)]
        self._finisher.give_back([run for pool in stuck for run in pool.take_back()])
        if self._isolation is not None:
            self._isolation.return_stuck()

    def _give_back_waiting(self) -> None:
        self._finisher.give_back([run for pool in self._pools.values() for run in pool.take_back()])

    # Run

    def _pool(self, pool: Pool) -> RunPool:
        if pool not in self._pools:
            self._pools[pool] = self._makers[pool]()
        return self._pools[pool]

    def _thread_pool(self) -> RunPool:
        options, clock = self.options, self._runtime.clock
        return ThreadPool(options.concurrency, self._execution, clock, self._end, self._threads)

    # What these three import takes megabytes, and most workers have use for none of them.

    def _loop_pool(self) -> RunPool:
        from drivetrain.worker.pools.loop import LoopPool

        return LoopPool(self.options.loop_concurrency, self._execution, self._ended.put, self._threads)

    def _process_pool(self) -> RunPool:
        from drivetrain.worker.pools.processes import ProcessPool

        done, died = self._ended.put, self._finisher.give_up
        return ProcessPool(
            self.options.concurrency,
            self._execution,
            self.options,
            done=done,
            died=died,
            threads=self._threads,
            directory=self._runtime.directory,
        )

    def _isolating(self) -> Isolation:
        if self._isolation is None:
            from drivetrain.worker.isolation import Isolation

            self._isolation = Isolation(
                self._runtime,
                self.options,
                execution=self._execution,
                finisher=self._finisher,
                retrier=self._retrier,
                in_flight=self._in_flight,
                stopping=self._stopping,
                run_here=self._submit,
                done=self._ended.put,
                threads=self._threads,
            )
        return self._isolation

    def _check_tasks(self) -> None:
        for definition in self._runtime.registry.values():
            definition.binding.compile()
            if definition.pool is Pool.PROCESSES:
                from drivetrain.worker.pools.reference import TaskReference

                TaskReference.to(definition)

    def _stop_run(self, run: Run) -> None:
        if self._isolation is not None:
            self._isolation.cancel(run)
        if (pool := self._pools.get(run.definition.pool)) is not None:
            pool.cancel(run)

    # Settle

    def _end(self, ending: RunResult) -> None:
        """An ending, in the thread that ran it. If it is all that is held, no other thread need be woken for it."""
        if len(self._in_flight) != 1:  # with none, it was given back: then it is nobody's any more
            self._ended.put(ending)
            return
        with suppress(GaveUp):  # told to stop while a service was away: its message will come again
            self._settle([ending])

    def _settle_all(self) -> None:
        while (first := self._ended.get()) is not None:
            try:
                self._settle([first, *self._ended_too()])
            except GaveUp:
                return

    def _settle(self, endings: Sequence[RunResult]) -> None:
        try:
            self._flow_control.settled(endings)
            self._finisher.settle(endings)
        except GaveUp:
            raise
        except BaseException:
            # Whatever it is, this thread must live on, and must not keep alive what will not be settled.
            self._in_flight.remove(ending.run for ending in endings if ending.run is not None)
            logger.exception("%d tasks could not be settled; their messages will come again", len(endings))

    def _ended_too(self) -> list[RunResult]:
        endings: list[RunResult] = []
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
        try:
            self._threads.start("drivetrain-grace", partial(self._end_grace, finished))
            self._give_back_waiting()
            if self._isolation is not None:
                self._finisher.give_back(self._isolation.take_back())
            while len(self._in_flight) and not self._abandoning.is_set():
                self._in_flight.wait_below(1, 0.2)
            self._abandon()
        except GaveUp:
            logger.warning("stopped while a service was away; what was not settled is delivered again")
        finally:
            finished.set()
            if self._isolation is not None:
                self._isolation.stop()
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
        self._in_flight.wake()

    def _abandon(self) -> None:
        runs = self._in_flight.all()
        if not runs:
            return
        logger.warning("%d tasks still run at the end of the grace period; they are given back", len(runs))
        for run in runs:
            run.stopped = True
            self._stop_run(run)
        self._finisher.give_back(runs, delay_seconds=_ABANDONED_DELAY_SECONDS)
