"""The thread of a worker that reports the worker's status to the backend."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

import importlib_metadata

from drivetrain.contract import ServiceError, ValueWrite
from drivetrain.worker.activity import MAX_RUNNING, Activity, running_tasks
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.registry import Pool
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.status import Scale, WaitingTask, WorkerStatus, status_key
from drivetrain.worker.stop_requests import StopRequest
from drivetrain.worker.value_codec import encode

__all__ = ["REPORT_SECONDS", "STATUS_SECONDS", "StatusReporter"]

logger = get_logger("drivetrain.worker")

#: How often a worker reports, in seconds.
REPORT_SECONDS = 2.0
#: How long a status lasts without another report, in seconds: a worker that died is gone after that.
STATUS_SECONDS = 15.0
#: How many waiting tasks a status names.
_MAX_WAITING = 50


class StatusReporter:
    """Writes the status of a worker to the backend every `REPORT_SECONDS`: one small write, whatever it runs.

    Args:
        runtime: the drivers of the app.
        options: the options of the worker.
        activity: what the worker has done.
        in_flight: what it does.
        slots: how many tasks it runs at once, by pool.
        stopping: whether it receives no more messages.
        replaced_children: how many child processes were replaced.
        blocked: why it runs nothing more; see `drivetrain.worker.blocked_slots`.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        activity: Activity,
        in_flight: InFlight,
        slots: dict[Pool, int],
        stopping: Callable[[], bool],
        replaced_children: Callable[[], int],
        blocked: Callable[[], str],
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._activity = activity
        self._in_flight = in_flight
        self._slots = slots
        self._stopping = stopping
        self._replaced_children = replaced_children
        self._blocked = blocked
        self._version = importlib_metadata.version("drivetrain")
        #: When the worker started, in Unix seconds.
        self.started = runtime.clock.now()
        self._end = threading.Event()
        self._failing = False
        #: The number of processes, as the supervisor says.
        self.scale: Scale | None = None
        #: The request of an operator that the worker obeys.
        self.stop_request: StopRequest | None = None

    def run(self) -> None:
        """Report until `stop`; then remove the status."""
        self._write(encode(self.status()))
        while not self._runtime.clock.wait_event(self._end, REPORT_SECONDS):
            self._write(encode(self.status()))
        self._write(None)

    def stop(self) -> None:
        """End `run`."""
        self._end.set()

    def status(self) -> WorkerStatus:
        """The status now."""
        runs, options = self._in_flight.all(), self._options
        self._activity.began(runs)
        running = running_tasks(runs, self._runtime.clock)
        return WorkerStatus(
            name=options.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            queues=options.queues,
            slots={pool.value: slots for pool, slots in self._slots.items()},
            started=self.started,
            reported=self._runtime.clock.now(),
            stopping=self._stopping(),
            running=running[:MAX_RUNNING],
            running_count=len(running),
            waiting=_waiting_tasks(runs),
            waiting_count=sum(run.began is None for run in runs),
            replaced_children=self._replaced_children(),
            blocked=self._blocked(),
            scale=self.scale,
            stop_request=self.stop_request,
            ended=self._activity.last_ended(),
            counts=self._activity.counts(),
        )

    def _write(self, value: bytes | None) -> None:
        """Write or remove the status. A failure is logged once, until a write succeeds: the worker works without it."""
        seconds = None if value is None else STATUS_SECONDS
        write = ValueWrite(key=status_key(self._options.name), value=value, expires_in_seconds=seconds)
        try:
            self._runtime.backend.write_values([write])
        except ServiceError as error:
            if not self._failing:
                logger.warning(
                    "cannot report the status of this worker: %s; retrying every %.0f s", error, REPORT_SECONDS
                )
            self._failing = True
        except Exception:  # a third-party driver may raise anything; tasks do not depend on the status
            if not self._failing:
                logger.exception("unexpected error while reporting the status of this worker; retrying every 2 s")
            self._failing = True
        else:
            self._failing = False


def _waiting_tasks(runs: Iterable[Run]) -> Sequence[WaitingTask]:
    """Those of ``runs`` whose function has not begun, the oldest first; a limited number."""
    waiting = sorted((run for run in runs if run.began is None), key=lambda run: run.received_at)
    return [
        WaitingTask(
            task_id=run.task_id,
            task=run.invocation.call.task,
            attempt=run.invocation.attempt,
            queue=run.invocation.call.queue,
            received=run.received_at,
            collected=run.definition.batch is not None and run.batch is None and run.lone is None,
        )
        for run in waiting[:_MAX_WAITING]
    ]
