"""Runs suspects alone, so that a task that kills its process affects no other task, and can be identified.

A suspect runs in a child process, one at a time, while the other tasks of the worker continue. That is not possible if
another process cannot find its function, or if the broker lives in this process. Then, and after a worker has died in a
last lone start, it runs while the worker runs nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from drivetrain.contract import ConfigurationError, Interruption, State, Transition
from drivetrain.worker.events import notify_interrupted
from drivetrain.worker.execution import Execution, RunRefused
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.lone_starts import LoneStart
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools import program
from drivetrain.worker.pools.child_process import ChildDied
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.pools.slot import Slot
from drivetrain.worker.registry import Pool
from drivetrain.worker.results import ResultFactory
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.threads import Threads

__all__ = ["Isolation"]

logger = get_logger("drivetrain.worker")

#: The largest number of waiting suspects. Others are released to other workers.
_MOST_WAITING = 64
#: When a suspect has run for this time, in seconds, the waiting ones are released to other workers too.
_LONG_SECONDS = 1.0
#: The delay of these releases, in seconds.
_LATER_SECONDS = 1.0
#: How often a wait checks whether the worker stops, in seconds.
_POLL_SECONDS = 0.2


class Isolation:
    """Runs suspects, one after another, in a thread that the first suspect starts. Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        execution: Execution,
        releaser: Releaser,
        retrier: Retrier,
        in_flight: InFlight,
        stopping: threading.Event,
        run_here: Callable[[Sequence[Run]], None],
        done: Callable[[RunResult], None],
        threads: Threads,
    ) -> None:
        """Make it.

        Args:
            runtime: the drivers of the app.
            options: the options of the worker.
            execution: makes the results of runs.
            releaser: releases runs that do not begin, and runs whose process has died.
            retrier: calls services, with retries.
            in_flight: the runs of the worker.
            stopping: set when the worker begins nothing new.
            run_here: runs a task in the worker itself, in its pool.
            done: takes the result of a run in a child process.
            threads: starts its thread.
        """
        self._runtime = runtime
        self._options = options
        self._execution = execution
        self._releaser = releaser
        self._results = ResultFactory(runtime)
        self._retrier = retrier
        self._in_flight = in_flight
        self._stopping = stopping
        self._run_here = run_here
        self._done = done
        self._waiting: deque[Run] = deque()
        self._changed = threading.Condition()
        self._threads = threads
        self._thread: threading.Thread | None = None
        self._ended = False
        self._slot = Slot(options, runtime.directory, program.Program, progress_sink=execution.progress_sink)
        #: When the suspect that runs in the slot began, by the monotonic clock.
        self._began: float | None = None
        #: Set while a suspect waits until the worker runs nothing else, and while it runs then.
        self._wanted = threading.Event()
        #: Set by the worker when it runs nothing else.
        self._granted = threading.Event()

    # Calls from the worker

    def submit(self, runs: Sequence[Run]) -> None:
        """Run each of these suspects alone. They are in flight; those beyond the limit are released.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        with self._changed:
            if self._thread is None:
                self._thread = self._threads.start("drivetrain-isolation", self._work)
            room = max(0, _MOST_WAITING - len(self._waiting))
            self._waiting.extend(runs[:room])
            self._changed.notify_all()
        self._releaser.release(runs[room:], delay_seconds=_LATER_SECONDS)

    def run_now(self, run: Run) -> RunResult:
        """Run a suspect in this thread, and return its result. Nothing else runs in this thread."""
        try:
            self._record_start(run, _lone(run))
        except RunRefused as error:
            return self._execution.failed(run, error)
        return self._execution.run_here(run)

    def take_back(self) -> list[Run]:
        """Remove and return the runs that have not begun."""
        with self._changed:
            runs = list(self._waiting)
            self._waiting.clear()
        return runs

    def return_stuck(self) -> None:
        """Release the suspects that wait behind a long one: another worker may run them at once."""
        began = self._began
        if began is not None and self._runtime.clock.monotonic() - began >= _LONG_SECONDS:
            self._releaser.release(self.take_back(), delay_seconds=_LATER_SECONDS)

    def cancel(self, run: Run) -> None:
        """Kill the child process, if it runs ``run``."""
        self._slot.kill(run)

    def stop(self) -> None:
        """Begin no more suspects, and kill the one that runs."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._slot.close()

    @property
    def wants_worker(self) -> bool:
        """Whether the worker must receive nothing new: a suspect waits until it runs nothing else, or runs then."""
        return self._wanted.is_set()

    @property
    def has_worker(self) -> bool:
        """Whether `grant` was called for the present suspect."""
        return self._granted.is_set()

    def grant(self) -> None:
        """Report that the worker has only suspects in flight, and receives nothing new while `wants_worker`."""
        self._granted.set()

    # Steps of its thread

    def _work(self) -> None:
        while (run := self._next()) is not None:
            try:
                result = self._attempt(run, _lone(run))
            except GaveUp:
                continue  # the worker stops while a service is unavailable; the message is delivered again
            except Exception:  # a driver may raise anything; the heartbeat must not renew a run that does not run
                self._in_flight.remove([run])
                text = "task %s cannot run alone; its message will be delivered again"
                logger.exception(text, run.task_id, extra=log_extra(run.invocation))
                result = None
            if result is not None:
                self._done(result)
            if self._wanted.is_set():
                self._await_settled(run)
        self._slot.dismiss()

    def _next(self) -> Run | None:
        with self._changed:
            if self._waiting and not self._ended:
                return self._waiting.popleft()
        self._slot.dismiss()  # there may be no suspect for a long time
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return None if self._ended else self._waiting.popleft()

    def _attempt(self, run: Run, lone: LoneStart) -> RunResult | None:
        if run.stopped:
            return self._execution.failed(run, RunRefused())
        reference = self._reference(run)
        if reference is not None and not self._prepare(run, reference, lone):
            reference = None
        if (lone.exclusive or reference is None) and not self._get_worker():
            self._releaser.release([run], delay_seconds=_LATER_SECONDS)
            return None
        try:
            self._record_start(run, lone)
        except RunRefused as error:
            return self._execution.failed(run, error)
        text = "task %s was %s without finishing; running it alone"
        logger.info(text, run.task_id, lone.tally, extra=log_extra(run.invocation))
        if reference is not None:
            return self._run_in_child(run, reference, lone)
        self._run_here([run])
        return None

    def _reference(self, run: Run) -> TaskReference | None:
        """Where a child process finds the task of ``run``; None: it must not run in one."""
        if not program.SUPPORTED:
            return None
        if not (self._runtime.broker.capabilities.shared or run.definition.pool is Pool.PROCESSES):
            return None  # a task that it sends would be lost in the child
        try:
            return TaskReference.to(run.definition)
        except ConfigurationError:
            return None

    def _prepare(self, run: Run, reference: TaskReference, lone: LoneStart) -> bool:
        """Start a child process and prepare it for the task; whether that succeeded."""
        if lone.last and not self._slot.fresh:
            self._slot.dismiss()
        try:
            self._slot.prepare(reference)
        except (ImportError, ChildDied, OSError) as error:
            text = "task %s cannot run in a child process (%s); waiting until this worker runs nothing else"
            logger.warning(text, run.task_id, error, extra=log_extra(run.invocation))
            return False
        return True

    def _get_worker(self) -> bool:
        """Wait until the worker runs nothing else, at most for the time of a lease; whether it does."""
        clock = self._runtime.clock
        end = clock.monotonic() + self._options.lease_seconds
        self._granted.clear()
        self._wanted.set()
        while not (self._stopping.is_set() or self._ended or clock.monotonic() >= end):
            if clock.wait_event(self._granted, _POLL_SECONDS):
                return True
        self._wanted.clear()
        return False

    def _await_settled(self, run: Run) -> None:
        """Reserve the worker for this suspect until its result is recorded: the next one may kill the worker."""
        while self._in_flight.holds(run) and not self._ended:
            self._in_flight.wait_below(len(self._in_flight), _POLL_SECONDS)
        self._wanted.clear()
        self._granted.clear()

    def _record_start(self, run: Run, lone: LoneStart) -> None:
        transition = Transition(
            task_id=run.task_id,
            state=State.STARTED,
            attempt=run.invocation.attempt,
            at=self._runtime.clock.now(),
            worker=self._options.name,
            task=run.invocation.call.task,
            run=run.id,
            lease=self._options.lease_seconds,
            payload=lone.record.dump(self._runtime.payloads),
        )
        owned_until = self._runtime.clock.monotonic() + self._options.lease_seconds
        (outcome,) = self._retrier.call("start alone", lambda: self._runtime.backend.record([transition]))
        if not outcome.applied:
            raise RunRefused
        run.owned_until = owned_until

    def _run_in_child(self, run: Run, reference: TaskReference, lone: LoneStart) -> RunResult | None:
        self._began = run.began = self._runtime.clock.monotonic()
        try:
            return self._slot.execute(run, reference)
        except ChildDied as error:
            return self._died(run, lone, error)
        except BaseException as error:  # noqa: BLE001 - a time limit, or a result that cannot be pickled: `failed` makes a result of each
            return self._execution.failed(run, error)
        finally:
            self._began = None

    def _died(self, run: Run, lone: LoneStart, error: ChildDied) -> RunResult | None:
        if self._ended:
            return None  # `stop` has killed it; the run was released before
        if run.stopped:
            return self._execution.failed(run, error)  # `cancel` has killed it
        alone = lone.record.lone_starts
        text = f"{lone.tally}, {alone} of them alone, and never finished; the last time its process {error}"
        if lone.last:
            notify_interrupted(self._runtime, self._options.name, run, Interruption.CRASHED)
            return self._results.crashed(run, text)
        logger.error("task %s was %s", run.task_id, text, extra=log_extra(run.invocation))
        self._releaser.release_crashed(run)
        return None


def _lone(run: Run) -> LoneStart:
    assert run.lone is not None  # noqa: S101 - nothing else is submitted
    return run.lone
