"""Several worker processes under one: it starts them, passes signals on, and replaces those that crash.

Each child holds the end of a pipe. Orders to stop come through it, and when it breaks, the supervisor is dead, however
it died, and the child stops as if told to.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import time
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

from attrs import define

from drivetrain.cli.app_loading import load_app
from drivetrain.cli.exit_codes import Exit, exit_code
from drivetrain.cli.signals import Signals
from drivetrain.cli.worker_process import Stop, WorkerPlan, work
from drivetrain.contract import DrivetrainError

__all__ = ["Supervisor"]

logger = logging.getLogger("drivetrain.supervisor")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
#: A process that lived so long has not crashed "again".
_GOOD_LIFE_SECONDS = 60.0
#: How long giving back may take after an order to stop at once, in seconds; then the process is killed.
_LAST_SECONDS = 10.0
#: The longest sleep, in seconds; a child's sentinel may be kept open by what its tasks have started.
_LOOK_SECONDS = 1.0


@define(eq=False)
class _Place:
    """A worker process, and those that replace it."""

    number: int
    process: SpawnProcess | None = None
    orders: connection.Connection[Any, Any] | None = None
    began: float = 0.0
    crashes: int = 0
    #: When a crashed one is to be replaced.
    restart_at: float | None = None

    def start(self, plan: WorkerPlan) -> None:
        # Spawned, not forked: nothing of ours, connections least of all, is to be shared with a worker.
        context = multiprocessing.get_context("spawn")
        theirs, self.orders = context.Pipe(duplex=False)
        self.process = context.Process(target=_work_as_child, args=(plan, theirs), name=f"worker-{self.number}")
        self.process.start()
        theirs.close()
        self.began, self.restart_at = time.monotonic(), None

    def order(self, stop: Stop) -> None:
        if self.orders is not None:
            try:
                self.orders.send(int(stop))
            except OSError:
                logger.debug("worker process %d has just ended", self.number)

    def bury(self) -> int:
        """Let go of a process that has ended; its exit code, negative for a signal."""
        assert self.process is not None  # noqa: S101
        assert self.orders is not None  # noqa: S101
        code = self.process.exitcode or 0
        self.process.join()
        self.orders.close()
        self.process = self.orders = None
        return code


class Supervisor:
    """Runs worker processes until told to stop, or until all have ended by themselves."""

    def __init__(self, plan: WorkerPlan, processes: int) -> None:
        self._plan = plan
        self._places = [_Place(number) for number in range(1, processes + 1)]
        self._urgency = 0
        self._kill_at: float | None = None
        self._code = Exit.OK

    def run(self) -> Exit:
        """Do so, in the main thread; what to exit with."""
        with Signals() as signals:
            for place in self._places:
                self._start(place)
            while any(place.process is not None or place.restart_at is not None for place in self._places):
                self._wait(signals)
                if signals.arrived():
                    self._stop(self._urgency + 1)
                self._kill_late()
                for place in self._places:
                    self._look(place)
        logger.info("all worker processes have ended")
        return self._code

    def _start(self, place: _Place) -> None:
        place.start(self._plan)
        logger.info("worker process %d runs with pid %s", place.number, place.process and place.process.pid)

    def _wait(self, signals: Signals) -> None:
        sentinels = [place.process.sentinel for place in self._places if place.process is not None]
        now = time.monotonic()
        due = [place.restart_at - now for place in self._places if place.restart_at is not None]
        connection.wait([signals.reader, *sentinels], timeout=max(0.0, min([_LOOK_SECONDS, *due])))

    def _look(self, place: _Place) -> None:
        if place.process is not None and place.process.exitcode is not None:
            self._ended(place)
        elif place.restart_at is not None and place.restart_at <= time.monotonic():
            self._start(place)

    def _ended(self, place: _Place) -> None:
        lived, pid = time.monotonic() - place.began, place.process and place.process.pid
        code = place.bury()
        who = f"worker process {place.number} (pid {pid})"
        if code == Exit.OK:
            logger.info("%s has stopped", who)
        elif code == Exit.USAGE:
            logger.error("%s cannot work as it is configured; all stop", who)
            self._code = Exit.USAGE
            if not self._urgency:
                self._stop(Stop.GENTLY)
        elif self._urgency:
            logger.error("%s %s while it stopped", who, _cause(code))
            self._code = self._code or Exit.FAILED
        else:
            place.crashes = 1 if lived >= _GOOD_LIFE_SECONDS else place.crashes + 1
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(place.crashes - 1, 20))
            place.restart_at = time.monotonic() + pause
            logger.error("%s %s; another is started in %.1f s", who, _cause(code), pause)

    def _stop(self, urgency: int) -> None:
        self._urgency = urgency
        stop = Stop(min(urgency, Stop.DEAD))
        logger.info("stopping all worker processes%s", "" if stop is Stop.GENTLY else " at once")
        if stop is not Stop.GENTLY:
            self._kill_at = time.monotonic() + (_LAST_SECONDS if stop is Stop.AT_ONCE else 0.0)
        for place in self._places:
            place.restart_at = None
            place.order(stop)

    def _kill_late(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            for place in self._places:
                if place.process is not None:
                    place.process.kill()


def _cause(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _work_as_child(plan: WorkerPlan, orders: connection.Connection[Any, Any]) -> None:
    # Before the app is imported, so that Ctrl-C during a slow import is a stop like any other.
    with Signals() as signals:
        try:
            code = work(plan, load_app(plan.reference), signals, orders)
        except DrivetrainError as error:
            logger.error("%s", error)  # noqa: TRY400 - it says what is wrong; the traceback says where we read it
            code = exit_code(error)
    sys.exit(code)
