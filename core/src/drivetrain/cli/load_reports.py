"""What a worker process reports of its load, whenever a supervisor that scales asks for it.

The supervisor asks, and asks again when it has the answer. So a pipe never fills up, whichever of both is stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from attrs import frozen

from drivetrain.app.application import App
from drivetrain.contract import ServiceError
from drivetrain.worker.worker import Worker

__all__ = ["LoadReport", "LoadReporter", "LoadRequest"]

logger = logging.getLogger("drivetrain.worker")

#: How soon the thread notices that the worker has ended, in seconds.
_CHECK_SECONDS = 1.0


@frozen
class LoadRequest:
    """The order of a supervisor to report the load.

    Attributes:
        counts_queues: whether to count what is ready in the queues. One process of a worker does.
    """

    counts_queues: bool


@frozen(kw_only=True)
class LoadReport:
    """The load of a worker process.

    Attributes:
        running: how many tasks run.
        waiting: how many tasks it has received that wait for a slot.
        ended_per_second: how many tasks have ended.
        slots: how many tasks it runs at once.
        processors_used: how many processors it has used, without its child processes.
        ready: how many tasks are ready in its queues, without those of paused queues; None: it does not count them.
    """

    running: int
    waiting: int
    ended_per_second: float
    slots: int
    processors_used: float
    ready: int | None = None


class LoadReporter:
    """Reports in a thread of its own, since counting what is ready may take long, until the worker has ended.

    Args:
        app: the app of the worker.
        worker: the worker.
        send: sends a report to the supervisor. Thread-safe.
    """

    def __init__(self, app: App, worker: Worker, send: Callable[[LoadReport], None]) -> None:
        self._app = app
        self._worker = worker
        self._send = send
        self._counts_queues = False
        self._before = (time.monotonic(), time.process_time(), self._ended())
        self._requested = threading.Event()

    def request(self, request: LoadRequest) -> None:
        """Let `run` report once. Does not wait."""
        self._counts_queues = request.counts_queues
        self._requested.set()

    def run(self) -> None:
        """Report whenever `request` is called, until the worker has ended."""
        while not self._worker.ended:
            if self._requested.wait(_CHECK_SECONDS):
                self._requested.clear()
                self._send(self.report())

    def report(self) -> LoadReport:
        """The load since the last report."""
        status = self._worker.status()
        before, now = self._before, (time.monotonic(), time.process_time(), self._ended())
        self._before = now
        seconds = max(now[0] - before[0], 1e-3)
        return LoadReport(
            running=status.running_count,
            waiting=status.waiting_count,
            ended_per_second=(now[2] - before[2]) / seconds,
            slots=sum(status.slots.values()),
            processors_used=(now[1] - before[1]) / seconds,
            ready=self._ready() if self._counts_queues else None,
        )

    def _ended(self) -> int:
        total = self._worker.status().total
        return total.succeeded + total.failed + total.retried

    def _ready(self) -> int | None:
        """How many tasks are ready; brokers that cannot tell count as 0. None: the broker is away."""
        queues = list(self._worker.open_queues)
        try:
            sizes = self._app.runtime.broker.sizes(queues) if queues else {}
        except ServiceError as error:
            logger.debug("cannot count the tasks that are ready: %s", error)
            return None
        except Exception:  # a third-party driver may raise anything; the worker works without the count
            logger.exception("unexpected error while counting the tasks that are ready")
            return None
        return sum(one.ready or 0 for one in sizes.values())
