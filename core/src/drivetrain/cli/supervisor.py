"""The supervisor: a process that runs no tasks. It starts worker processes, passes signals on, restarts crashed ones.

It does not import the app, so it needs little memory and the app cannot end it. A pipe connects it with each worker
process: it sends stop orders, and receives reports. When the pipe breaks, the supervisor has died, and the worker
process stops gracefully.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeAlias

import click
from attrs import define

from drivetrain.app.application import App
from drivetrain.cli.app_options import AppOptions
from drivetrain.cli.errors import message_of
from drivetrain.cli.exit_codes import Exit, exit_code
from drivetrain.cli.load_reports import LoadReport, LoadRequest
from drivetrain.cli.logging_setup import set_up_logging
from drivetrain.cli.plugin_reports import ReportChannels, SupervisorParts
from drivetrain.cli.scaling import Scaling
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.cli.systemd import Systemd
from drivetrain.cli.worker_process import Loaded, Order, Refused, Stop, Stopping, Supervision, WorkerPlan, work
from drivetrain.contract import ConfigurationError, DrivetrainError
from drivetrain.worker.process_exit import describe_exit
from drivetrain.worker.process_signals import DUMP_SIGNAL
from drivetrain.worker.status import Scale

__all__ = ["Supervisor"]

logger = logging.getLogger("drivetrain.supervisor")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
#: A process that ran for this time has not crashed repeatedly, in seconds.
_STABLE_SECONDS = 60.0
#: How long a worker may take to release its tasks after an order to stop at once, in seconds; then it is killed.
_LAST_SECONDS = 10.0
#: The longest sleep, in seconds: processes that its tasks have started may keep a child's sentinel open.
_POLL_SECONDS = 1.0


_Report: TypeAlias = Loaded | Refused | Stopping | LoadReport


@define(eq=False)
class _ProcessSlot:
    """A slot for a worker process and its replacements."""

    number: int
    process: SpawnProcess | None = None
    #: For orders and reports; None: it is closed.
    pipe: connection.Connection[Any, Any] | None = None
    began: float = 0.0
    crashes: int = 0
    #: When a crashed process is replaced, by the monotonic clock.
    restart_at: float | None = None
    #: Whether it has made its worker.
    loaded: bool = False
    #: Whether it stops, by an order or by a signal.
    stopping: bool = False
    #: What is wrong with its configuration.
    refusal: str | None = None
    #: Whether it is stopped because there is a process too many.
    retiring: bool = False
    #: Its last report of its load; None: it has not reported.
    load: LoadReport | None = None
    #: Whether it was asked for its load, and has not answered.
    asked: bool = False

    def start(self, plan: WorkerPlan, channels: ReportChannels) -> None:
        # Spawned, not forked: a worker must share nothing with the supervisor, above all no connections.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        reports = channels.open(self.number)
        self.process = context.Process(
            target=_work_as_child, args=(plan, Supervision(theirs, reports)), name=f"worker-{self.number}"
        )
        self.process.start()
        theirs.close()
        reports.close()
        self.began, self.restart_at = time.monotonic(), None
        self.loaded, self.stopping, self.refusal = False, False, None

    def order(self, stop: Stop) -> None:
        self.stopping = True
        self._send(int(stop))

    def show_scale(self, scale: Scale) -> None:
        """Let it report how many processes there are."""
        self._send(scale)

    def ask_load(self, *, counts_queues: bool) -> None:
        """Let it report its load, and what is ready in the queues."""
        if self.loaded and not self.asked:
            self.asked = True
            self._send(LoadRequest(counts_queues))

    def _send(self, order: Order) -> None:
        if self.pipe is not None:
            try:
                self.pipe.send(order)
            except OSError:
                logger.debug("worker process %d has just ended", self.number)  # `Supervisor` notices its end

    def reports(self) -> Iterator[_Report]:
        """Its unread reports."""
        try:
            while self.pipe is not None and self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError):
            self._close_pipe()

    def dump(self) -> None:
        """Make it write its stacks, if it handles the signal already; before that, the signal would end it."""
        if DUMP_SIGNAL is not None and self.loaded and self.process is not None and self.process.pid is not None:
            os.kill(self.process.pid, DUMP_SIGNAL)

    def reap(self) -> int:
        """Clean up after a process that has ended; its exit code, negative for a signal."""
        assert self.process is not None  # noqa: S101
        code = self.process.exitcode or 0
        self.process.join()
        self._close_pipe()
        self.process, self.load, self.asked = None, None, False
        return code

    def _close_pipe(self) -> None:
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None


class Supervisor:
    """Runs worker processes until it is stopped, or until all of them were stopped."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._channels = ReportChannels()
        self._parts = SupervisorParts(self._channels)
        #: The first process reports the number of processes, where the command line does not have it.
        self._slots = [_ProcessSlot(1)]
        self._complete = False
        self._urgency = 0
        self._kill_at: float | None = None
        self._code = Exit.OK
        self._scaling = None if plan.autoscale is None else Scaling(*plan.autoscale)
        self._systemd = Systemd()

    def run(self) -> Exit:
        """Run in the main thread until all processes have ended; the exit code."""
        # The first process reports the log level of the app's settings.
        set_up_logging(self._plan.log_level or "info", self._plan.log_format or "text")
        with Signals() as signals:
            self._slots[0].start(self._plan, self._channels)
            while any(slot.process is not None or slot.restart_at is not None for slot in self._slots):
                self._systemd.alive()
                self._wait(signals)
                arrived = signals.arrived()
                if Arrived.STOP in arrived:
                    self._stop(self._urgency + 1)
                if Arrived.DUMP in arrived:
                    self._dump()
                self._kill_late()
                for slot in list(self._slots):
                    self._check_slot(slot)
                self._scale()
        self._parts.stop()
        logger.info("all worker processes have ended")
        return self._code

    def _wait(self, signals: Signals) -> None:
        sentinels = [slot.process.sentinel for slot in self._slots if slot.process is not None]
        pipes = [slot.pipe for slot in self._slots if slot.pipe is not None]
        now = time.monotonic()
        due = [slot.restart_at - now for slot in self._slots if slot.restart_at is not None]
        longest = min([_POLL_SECONDS, *due, *filter(None, [self._systemd.alive_seconds])])
        connection.wait([signals.reader, *sentinels, *pipes], timeout=max(0.0, longest))

    def _dump(self) -> None:
        for slot in self._slots:
            slot.dump()

    def _check_slot(self, slot: _ProcessSlot) -> None:
        ended = slot.process is not None and slot.process.exitcode is not None
        for report in slot.reports():  # also of a process that has ended
            self._handle(slot, report)
        if ended:
            self._ended(slot)
        elif slot.restart_at is not None and slot.restart_at <= time.monotonic():
            slot.start(self._plan, self._channels)

    def _scale(self) -> None:
        """Add or retire processes, if the plan says so and it is time for it."""
        now = time.monotonic()
        if self._scaling is None or not self._complete or self._urgency or not self._scaling.is_due(now):
            return
        active = [slot for slot in self._slots if not slot.retiring]
        processes = self._scaling.processes([slot.load for slot in active], now)
        for place, slot in enumerate(active):
            slot.ask_load(counts_queues=place == 0)
        if processes > len(active):
            used = {slot.number for slot in self._slots}
            numbers = (number for number in count(1) if number not in used)
            for number in islice(numbers, processes - len(active)):
                self._start_slot(_ProcessSlot(number))
        elif processes < len(active):
            self._retire(active)
        if processes != len(active):
            self._show_scale()

    def _start_slot(self, slot: _ProcessSlot) -> None:
        self._slots.append(slot)
        slot.start(self._plan, self._channels)

    def _retire(self, active: Sequence[_ProcessSlot]) -> None:
        """Retire the process that runs the fewest tasks; never the first one, which counts what is ready."""
        fewest = min(active[1:], key=lambda slot: (slot.load.running if slot.load else 0, -slot.number))
        fewest.retiring = True
        logger.info("worker process %d retires: it ends when its tasks have ended", fewest.number)
        fewest.order(Stop.RETIRE)

    def _show_scale(self) -> None:
        if self._scaling is not None:
            scale = self._scaling.scale(sum(not slot.retiring for slot in self._slots))
            for slot in self._slots:
                if slot.loaded:
                    slot.show_scale(scale)

    def _handle(self, slot: _ProcessSlot, report: _Report) -> None:
        if isinstance(report, LoadReport):
            slot.load, slot.asked = report, False
        elif isinstance(report, Loaded):
            self._loaded(slot, report)
        elif isinstance(report, Refused):
            slot.refusal = report.message
        else:
            slot.stopping = True

    def _loaded(self, slot: _ProcessSlot, report: Loaded) -> None:
        slot.loaded = True
        if self._plan.log_level is None:
            logging.getLogger().setLevel(report.log_level.upper())
        logger.info("worker process %d runs with pid %s", slot.number, slot.process and slot.process.pid)
        if not self._complete and not self._urgency:
            self._complete = True
            self._parts.start(report.parts)
            for number in range(2, self._processes(report) + 1):
                self._start_slot(_ProcessSlot(number))
        self._show_scale()
        if not self._urgency and all(one.loaded for one in self._slots):
            self._systemd.ready(f"{len(self._slots)} worker processes run")

    def _processes(self, report: Loaded) -> int:
        """How many processes to start with."""
        if self._plan.autoscale is not None:
            return self._plan.autoscale[0]
        return self._plan.processes or report.processes

    def _ended(self, slot: _ProcessSlot) -> None:
        lived, pid = time.monotonic() - slot.began, slot.process and slot.process.pid
        code = slot.reap()
        self._channels.close(slot.number)
        if slot.retiring:
            self._slots.remove(slot)
        title = f"worker process {slot.number} (pid {pid})"
        if slot.refusal is not None:
            self._stop_refused(title, slot.refusal)
        elif code == Exit.OK and slot.stopping:
            logger.info("%s has stopped", title)
            if self._scaling is not None and slot in self._slots:
                self._slots.remove(slot)  # an operator has stopped it: another one is started only when work waits
        elif slot.retiring and not self._urgency:
            logger.error("%s %s while it retired", title, describe_exit(code))
        elif self._urgency:
            logger.error("%s %s while it stopped", title, describe_exit(code))
            self._code = self._code or Exit.FAILED
        else:
            slot.crashes = 1 if lived >= _STABLE_SECONDS else slot.crashes + 1
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(slot.crashes - 1, 20))
            slot.restart_at = time.monotonic() + pause
            # With any exit code, also 0: no one has stopped it, so a task has ended it.
            logger.error("%s %s; starting another in %.1f s", title, describe_exit(code), pause)

    def _stop_refused(self, title: str, message: str) -> None:
        click.echo(message, err=True)
        self._code = Exit.USAGE
        if self._complete:
            logger.error("%s is configured wrongly; stopping all", title)
        if not self._urgency:
            self._stop(Stop.GENTLY)

    def _stop(self, urgency: int) -> None:
        self._urgency = urgency
        stop = Stop(min(urgency, Stop.DEAD))
        self._systemd.stopping("stopping all worker processes")
        logger.info("stopping all worker processes%s", "" if stop is Stop.GENTLY else " at once")
        if stop is not Stop.GENTLY:
            self._kill_at = time.monotonic() + (_LAST_SECONDS if stop is Stop.AT_ONCE else 0.0)
        for slot in self._slots:
            slot.restart_at = None
            slot.order(stop)

    def _kill_late(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            for slot in self._slots:
                if slot.process is not None:
                    slot.process.kill()


def _work_as_child(plan: WorkerPlan, supervision: Supervision) -> None:
    options = AppOptions(app=plan.reference, verbose=plan.verbose)
    # Before the app is imported, so that Ctrl-C during a slow import is a stop like any other.
    with Signals() as signals:
        try:
            app = options.open_app()
            app.add_plugins(*plan.plugins)
            _check(plan, app)
            code = work(plan, app, signals, supervision)
        except DrivetrainError as error:
            code = exit_code(error)
            if code is Exit.USAGE:
                supervision.orders.send(Refused(message_of(error, options)))
            else:
                logger.error("%s", error)  # noqa: TRY400 - the message says what is wrong; a traceback would not help
    sys.exit(code)


def _check(plan: WorkerPlan, app: App) -> None:
    most = plan.autoscale[1] if plan.autoscale else plan.processes or app.settings.processes
    several = most > 1
    if several and not app.runtime.broker.capabilities.shared:
        raise ConfigurationError("the app's broker lives in one process, so several worker processes cannot share it")
