"""The progress reports of a worker: collected in memory, and written to the backend once a second."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from msgspec import Struct

from drivetrain.contract import ServiceError, ValueWrite, reset_after_fork
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.progress import WRITE_SECONDS, ReportedProgress, progress_key
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.value_codec import encode

__all__ = ["ProgressReports"]

logger = get_logger("drivetrain.worker")

#: How long a report lasts without another write, in seconds: the report of a worker that died is gone after that.
_REPORT_SECONDS = 60.0
#: After this time a report is written again, so that it lasts while its task runs; in seconds.
_RENEW_SECONDS = 20.0


class _Written(Struct):
    run: Run
    progress: ReportedProgress
    #: By the monotonic clock.
    at: float


class ProgressReports:
    """The reports of the tasks of a worker. Thread-safe.

    A task's own thread only puts its report into a dictionary. It takes no lock, because a time limit may interrupt it
    anywhere, and another task would wait for that lock for ever. `run` writes the reports in a thread. Without that
    thread, in `Worker.drain`, each report is written at once.

    A process that a task has forked reports nothing: the task is its parent's.

    Args:
        runtime: the drivers of the app.
        in_flight: the runs of the worker.
    """

    def __init__(self, runtime: Runtime, in_flight: InFlight) -> None:
        self._runtime = runtime
        self._in_flight = in_flight
        self._stores = runtime.backend.capabilities.stores
        self._forked = False
        #: Whether `run` writes the reports in a thread. Set before the first run begins.
        self.threaded = False
        self._end = threading.Event()
        self._wake: SimpleQueue[None] = SimpleQueue()
        #: The reports that are not written yet, by the id of the run.
        self._latest: dict[str, tuple[Run, ReportedProgress]] = {}
        #: The reports that are stored, by the id of the run.
        self._written: dict[str, _Written] = {}
        self._failing = False
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._forked = True

    def report(self, run: Run, progress: ReportedProgress) -> None:
        """See `ProgressSink`."""
        if not self._stores or self._forked or self._has_ended(run):
            return
        first = run.id not in self._latest
        self._latest[run.id] = run, progress
        if not self.threaded:
            self.flush()
        elif first:
            self._wake.put(None)

    def run(self) -> None:
        """Write reports until `stop`; then remove them."""
        while not self._end.is_set():
            self._wake.get()
            while (self._latest or self._written) and not self._end.is_set():
                self.flush()
                self._runtime.clock.wait_event(self._end, WRITE_SECONDS)
        keys = [progress_key(one.run.task_id, run_id) for run_id, one in self._written.items()]
        self._write([ValueWrite(key=key, value=None) for key in keys])

    def stop(self) -> None:
        """End `run`."""
        self._end.set()
        self._wake.put(None)

    def flush(self) -> None:
        """Write new reports, renew old ones, and remove those of runs that have ended."""
        if not (self._latest or self._written):
            return
        now = self._runtime.clock.monotonic()
        for run_id in list(self._latest):
            run, progress = self._latest.pop(run_id)
            if not self._has_ended(run):
                self._written[run_id] = _Written(run, progress, -math.inf)
        writes, ended = list[ValueWrite](), list[str]()
        for run_id, one in self._written.items():
            key = progress_key(one.run.task_id, run_id)
            if self._has_ended(one.run):
                ended.append(run_id)
                writes.append(ValueWrite(key=key, value=None))
            elif now - one.at >= _RENEW_SECONDS:
                writes.append(ValueWrite(key=key, value=encode(one.progress), expires_in_seconds=_REPORT_SECONDS))
        if writes and self._write(writes):
            for run_id in ended:
                del self._written[run_id]
            for one in self._written.values():
                one.at = now if now - one.at >= _RENEW_SECONDS else one.at

    def _has_ended(self, run: Run) -> bool:
        return run.settling or run.stopped or not self._in_flight.holds(run)

    def _write(self, writes: Sequence[ValueWrite]) -> bool:
        """Write values; whether that succeeded. A failure is logged once, until a write succeeds."""
        if not writes:
            return True
        try:
            self._runtime.backend.write_values(writes)
        except ServiceError as error:
            if not self._failing:
                logger.warning("cannot write the progress of tasks: %s; retrying every %.0f s", error, WRITE_SECONDS)
            self._failing = True
        except Exception:  # a third-party driver may raise anything; no task depends on its progress
            if not self._failing:
                logger.exception("unexpected error while writing the progress of tasks; retrying")
            self._failing = True
        else:
            self._failing = False
        return not self._failing
