"""The worker: starts and stops the stages that receive, run and settle, with bounded buffers between them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from drivetrain.contract import Broker, Delivery, Interruption, NotSupported, ServiceError, ValueWrite, WorkerFailed
from drivetrain.worker.batches.batch_run import results_of, rows_of
from drivetrain.worker.companions import Companion
from drivetrain.worker.fair_keys import check_fair_keys
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.registry import Pool
from drivetrain.worker.rescue.rescuer import rescuer
from drivetrain.worker.retrying import GaveUp
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.stages import Stages
from drivetrain.worker.status import Scale, WorkerStatus
from drivetrain.worker.stop_requests import StopRequest, stop_key
from drivetrain.worker.threads import Threads

__all__ = ["Worker"]

logger = get_logger("drivetrain.worker")

#: How long the messages of runs that could not be stopped stay back, in seconds: this process has ended by then.
_ABANDONED_DELAY_SECONDS = 1.0
#: How long to wait for a thread of the worker to end, in seconds.
_JOIN_SECONDS = 10.0
#: How often the end of the grace period is checked, in seconds: a second signal may shorten it.
_GRACE_CHECK_SECONDS = 0.2


class Worker:
    """Receives tasks from queues, runs them, and settles them until it is stopped.

    `run` blocks; `start` runs it in a thread, and so does ``with worker:``. A worker runs once. Thread-safe.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        owns_broker: bool = False,
        companions: Sequence[Companion] = (),
    ) -> None:
        """Make it; it receives nothing yet.

        Args:
            runtime: the drivers and settings of the app.
            options: the options of this worker.
            owns_broker: whether the broker object is this worker's own, so that the worker closes it in the end.
            companions: what the app runs beside the tasks while the worker runs, each in a thread.

        Raises:
            ConfigurationError: a task of the processes pool cannot be found from another process.
            NotSupported: a task has limits, and the backend stores nothing; or ``fair_by``, and the broker has no fair
                keys.
        """
        self._runtime = runtime
        self.options = options
        self._owns_broker = owns_broker
        self._companions = tuple(companions)
        self._process = os.getpid()
        #: Whether it has stopped, after which it receives no more.
        self.ended = False
        self._stopping = threading.Event()
        self._abandoning = threading.Event()
        self._grace_seconds = options.grace_seconds
        #: Whether it ends only when its tasks have ended.
        self._retiring = False
        self._thread: threading.Thread | None = None
        #: What `run` has raised in the thread of `start`.
        self._run_error: BaseException | None = None
        #: The first thread that has failed, by its name, and its error.
        self._failure: tuple[str, BaseException] | None = None
        self._threads = Threads(self.fail)
        self._check_tasks()
        self._stages = stages = Stages(
            runtime, options, threads=self._threads, stopping=self._stopping, abandoning=self._abandoning
        )
        self._in_flight, self._flow_control = stages.in_flight, stages.flow_control
        self._receiver, self._execution, self._finisher = stages.receiver, stages.execution, stages.finisher
        self._receive_loop, self._pools, self._settler = stages.receive_loop, stages.pools, stages.settler
        self._suspects, self._releaser, self._heartbeat = stages.suspects, stages.releaser, stages.heartbeat
        stages.pauses.stop_requested = self._obey

    def _check_tasks(self) -> None:
        if self._runtime.registry.limited and not self._runtime.backend.capabilities.stores:
            raise NotSupported("limits need a backend that stores results, and this app's backend is null://")
        check_fair_keys(self._runtime.registry.values(), self._runtime.broker.capabilities)
        for definition in self._runtime.registry.values():
            definition.binding.compile()
            if definition.pool is Pool.PROCESSES:
                from drivetrain.worker.pools.reference import TaskReference  # megabytes that most workers do not need

                TaskReference.to(definition)

    # Running

    def run(self) -> None:
        """Work until `stop` is called; then finish as `stop` describes.

        Raises:
            RuntimeError: the worker was made in another process, from which this one was forked.
            WorkerFailed: a thread of the worker has failed; all tasks were released.
        """
        self._check_process()
        observers, name = self._runtime.observers, self.options.name
        logger.info("worker %s receives from %s%s", name, ", ".join(self.options.queues), self._startup_warnings())
        status = self._stages.status_reporter.status
        observers.notify("worker_started", worker=name, queues=self.options.queues, status=status)
        settler = self._threads.start("drivetrain-settle", self._settler.run)
        heartbeat = self._threads.start("drivetrain-heartbeat", self._heartbeat.run)
        stop_rescue = self._start_rescue()
        stop_reports = self._start_reports()
        stop_companions = self._start_companions()
        try:
            self._receive_loop.run()
        finally:
            observers.notify("worker_stopping", worker=name)
            try:
                self._finish()
            finally:
                self._settler.stop()
                settler.join(timeout=_JOIN_SECONDS)
                self._heartbeat.stop()
                heartbeat.join(timeout=_JOIN_SECONDS)
                stop_companions()
                stop_rescue()
                stop_reports()
                self._release_broker()
                observers.notify("worker_stopped", worker=name)
            logger.info("worker %s has stopped", name)
        if self._failure is not None:
            thread, error = self._failure
            raise WorkerFailed(
                f"worker {name} has stopped because its thread {thread} failed; start it again"
            ) from error

    def start(self) -> Worker:
        """`run` in a thread."""
        self._check_process()
        self._thread = threading.Thread(target=self._run_in_thread, name="drivetrain-worker", daemon=True)
        self._thread.start()
        return self

    def stop(self, *, grace_seconds: float | None = None, wait: bool = True) -> None:
        """Receive nothing more, release what has not begun, finish what runs; then end.

        May be called more than once, from any thread and from signal handlers; the shortest grace period counts. In a
        forked child it does nothing, since the worker belongs to the parent.

        Args:
            grace_seconds: how long running tasks may take; then they are released too. None: as the options say.
            wait: wait until a worker that was started by `start` has ended.
        """
        if self._process != os.getpid():
            return
        self._retiring = False
        if grace_seconds is not None:
            self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._stopping.set()
        self._stages.pauses.wake()
        if self._grace_seconds == 0:
            self._abandoning.set()
        if wait and self._thread is not None:
            self._in_flight.wake()
            self._thread.join()
            if self._run_error is not None:
                raise self._run_error

    @property
    def stop_request(self) -> StopRequest | None:
        """The request of an operator by which it stops; None: there is none."""
        return self._stages.status_reporter.stop_request

    def _obey(self, request: StopRequest) -> None:
        """Stop, if an operator means this worker, and not an earlier one of its name."""
        reporter = self._stages.status_reporter
        if request.started == reporter.started and not self._stopping.is_set():
            reporter.stop_request = request
            logger.warning("worker %s stops: %s", self.options.name, request)
            self.stop(wait=False)

    def retire(self) -> None:
        """Receive nothing more, release what has not begun, and end when all that runs has ended, at any time.

        `stop` may follow, and its grace period begins then. May be called from any thread.
        """
        if self._process != os.getpid() or self._stopping.is_set():
            return
        self._retiring = True
        self._stopping.set()
        self._stages.pauses.wake()

    def status(self) -> WorkerStatus:
        """What it does now. Thread-safe; it costs no call of a service."""
        return self._stages.status_reporter.status()

    def show_scale(self, scale: Scale) -> None:
        """Report how many processes the supervisor runs."""
        self._stages.status_reporter.scale = scale

    @property
    def open_queues(self) -> Sequence[str]:
        """The queues that it receives from now: those that are not paused."""
        return self._stages.pauses.open_queues

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def drain(self) -> int:
        """Receive, run and settle in this thread all that is ready now, without waiting; how many tasks ran.

        For tests: no other thread is started, so that the order is the same every time. Batches do not wait either:
        when nothing else is ready, the rows that are there are a batch.
        """
        self._check_process()
        self._stages.gate.receive_early = False  # no thread would start what comes a moment too early
        self._stages.pauses.refresh()
        ran = 0
        while runs := self._start_now():
            self._finisher.settle(results_of([self._run_now(run) for run in runs]))
            self._stages.progress_reports.flush()
            ran += len(rows_of(runs))
        return ran

    def _start_now(self) -> Sequence[Run]:
        """The runs that begin next; empty: nothing is ready."""
        while deliveries := self._receive_now():
            if runs := self._stages.batches.ready(self._receiver.start(deliveries)):
                return runs
        return self._stages.batches.take_partial()

    def _receive_now(self) -> Sequence[Delivery]:
        queues = self._stages.pauses.open_queues
        return self._receiver.receive(queues, self.options.concurrency, 0.0) if queues else ()

    def fail(self, thread: str, error: BaseException) -> None:
        """Stop and release all tasks, because a thread that the worker needs has failed; `run` then raises.

        Args:
            thread: the name of the thread.
            error: what it raised.
        """
        self._failure = self._failure or (thread, error)
        self.stop(grace_seconds=0.0, wait=False)
        self._in_flight.wake()

    def receives_from(self, broker: Broker) -> bool:
        """Whether it receives, or will receive, with this broker object."""
        return not self.ended and self._runtime.broker is broker

    @property
    def abandoned(self) -> bool:
        """Whether it releases tasks that still run; they may continue in this process."""
        return self._abandoning.is_set()

    def _run_now(self, run: Run) -> RunResult:
        return self._execution.run_here(run) if run.lone is None else self._suspects.run_now(run)

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._run_error = error  # `stop` raises it
            logger.critical("worker %s has failed", self.options.name, exc_info=error)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                f"worker {self.options.name} was made in process {self._process} and cannot run in process "
                f"{os.getpid()}, which was forked from it; call app.worker() in the process that runs the worker"
            )

    def _startup_warnings(self) -> str:
        """What looks like a mistake in the start of this worker, for its first log line; empty: nothing."""
        definitions = self._runtime.registry.values()
        if not definitions:
            return "; no task is registered: import the modules that define tasks in the module of the app"
        named = {definition.defaults.queue for definition in definitions}
        if named.isdisjoint(self.options.queues):
            return f"; it does not serve {', '.join(sorted(named))}, where its own tasks go by default"
        return ""

    def _start_reports(self) -> Callable[[], None]:
        """Start the threads that report status, counts and progress and watch pauses; the function that ends them."""
        if not self._runtime.backend.capabilities.stores:
            return lambda: None
        stages = self._stages
        pauses = self._threads.start("drivetrain-pauses", stages.pauses.run)
        stages.progress_reports.threaded = True
        reporters = [
            self._threads.start("drivetrain-status", stages.status_reporter.run),
            self._threads.start("drivetrain-progress", stages.progress_reports.run),
        ]
        if stages.counts_writer is not None:
            reporters.append(self._threads.start("drivetrain-counts", stages.counts_writer.run))

        def stop() -> None:
            stages.pauses.stop()
            self._runtime.late_threads.add(pauses)  # it may still wait for the backend, and changes nothing any more
            stages.status_reporter.stop()
            stages.progress_reports.stop()
            if stages.counts_writer is not None:
                stages.counts_writer.stop()
            for reporter in reporters:
                reporter.join(timeout=_JOIN_SECONDS)
            if self.stop_request is not None:
                self._forget_stop_request()

        return stop

    def _forget_stop_request(self) -> None:
        forget = ValueWrite(key=stop_key(self.options.name), value=None)
        with suppress(ServiceError):  # it ends by itself
            self._runtime.backend.write_values([forget])

    def _start_rescue(self) -> Callable[[], None]:
        """Look for lost tasks in a thread, if the options and the drivers allow it; the function that ends it."""
        rescue = rescuer(self._runtime, self.options)
        if rescue is None:
            return lambda: None
        thread = self._threads.start("drivetrain-rescue", rescue.run)

        def stop() -> None:
            rescue.stop()
            thread.join(timeout=_JOIN_SECONDS)

        return stop

    def _start_companions(self) -> Callable[[], None]:
        """Run the companions of the app and of the limits, each in a thread; the function that ends them."""
        recovery = self._stages.place_recovery
        companions = (*self._companions, recovery) if recovery.limits else self._companions
        threads = [self._threads.start(one.name, one.run) for one in companions]

        def stop() -> None:
            for companion in companions:
                companion.stop()
            for thread in threads:
                thread.join(timeout=_JOIN_SECONDS)

        return stop

    # Stopping

    def _finish(self) -> None:
        finished = threading.Event()
        try:
            self._threads.start("drivetrain-grace", partial(self._end_grace, finished))
            self._releaser.release(self._suspects.take_back())
            self._receive_loop.release_waiting()
            while len(self._in_flight) and not self._abandoning.is_set():
                self._in_flight.wait_below(1, _GRACE_CHECK_SECONDS)
                self._receive_loop.release_waiting()  # a pool may have taken them back from a child meanwhile
            self._abandon()
        except GaveUp:
            logger.warning("stopped while a service is unavailable; tasks that are not settled are delivered again")
        finally:
            finished.set()
            self._suspects.stop()
            self._stages.pacer.stop()
            self._stages.batches.stop()
            self._pools.stop()

    def _end_grace(self, finished: threading.Event) -> None:
        clock = self._runtime.clock
        began = clock.monotonic()
        while self._retiring or began + self._grace_seconds > clock.monotonic():
            if self._retiring:
                began = clock.monotonic()
            rest = _GRACE_CHECK_SECONDS if self._retiring else began + self._grace_seconds - clock.monotonic()
            if clock.wait_event(finished, max(0.0, min(rest, _GRACE_CHECK_SECONDS))):
                return
        self._abandoning.set()
        self._in_flight.wake()

    def _abandon(self) -> None:
        runs = self._in_flight.all()
        if not runs:
            return
        logger.warning("%d tasks still run at the end of the grace period; releasing them", len(runs))
        for run in runs:
            run.stopped = True
            self._stages.interrupt(run, Interruption.RELEASED)
        self._releaser.release(runs, delay_seconds=_ABANDONED_DELAY_SECONDS)

    def _release_broker(self) -> None:
        self.ended = True
        if self._owns_broker:
            self._runtime.broker.close()
