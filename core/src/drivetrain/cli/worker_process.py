"""One worker in this process: its logging, its signals, its end."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from functools import partial
from multiprocessing import connection
from typing import Any
from uuid import uuid4

from attrs import field, frozen

from drivetrain.app.application import App
from drivetrain.cli.app_loading import load_app
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.logging_setup import set_up_logging
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.contract import DrivetrainError, WorkerFailed
from drivetrain.worker.logs import get_logger
from drivetrain.worker.threads import Threads
from drivetrain.worker.worker import Worker

__all__ = ["Loaded", "Refused", "Stop", "Stopping", "WorkerPlan", "work"]

logger = get_logger("drivetrain.worker")

#: How many more objects are made than dropped before Python looks for cycles among them: some batches' worth.
_YOUNG_OBJECTS = 10_000


class Stop(IntEnum):
    """How urgently a worker is to stop."""

    GENTLY = 1
    #: Giving back what runs.
    AT_ONCE = 2
    #: Giving back takes too long.
    DEAD = 3


@frozen
class Loaded:
    """What a worker process reports to its supervisor when it has made its worker."""

    #: What the app's settings say.
    processes: int
    log_level: str


@frozen
class Refused:
    """What a worker process reports before it ends because of wrong usage or configuration."""

    #: For the user.
    message: str


@frozen
class Stopping:
    """What a worker process reports when a signal or an order has told it to stop."""


@frozen(kw_only=True)
class WorkerPlan:
    """What the command line says of a worker; travels to its processes."""

    #: ``module:attribute``.
    reference: str
    #: What `App.worker` takes, the name apart.
    options: Mapping[str, Any] = field(factory=dict)
    #: What its name begins with, instead of the host's.
    name: str | None = None
    #: None: as the settings say.
    log_level: str | None = None
    log_format: str | None = None
    #: How many processes; None: as the settings say.
    processes: int | None = None
    #: Whether errors are shown with their tracebacks.
    verbose: bool = False

    def worker_options(self) -> dict[str, Any]:
        """The options of one worker. No two have the same name: the leases of one must not be taken for another's."""
        if self.name is None:
            return dict(self.options)
        return {**self.options, "name": f"{self.name}:{os.getpid()}:{uuid4().hex[:6]}"}


def work(
    plan: WorkerPlan, app: App, signals: Signals, supervisor: connection.Connection[Any, Any] | None = None
) -> Exit:
    """Run a worker in this thread until it is told to stop.

    Args:
        plan: how.
        app: whose worker.
        signals: the first one stops it gently, the second at once.
        supervisor: where a supervisor sends `Stop`, and is sent reports; its end means that the supervisor has died.
    """
    set_up = _log_as_planned(plan, app)
    worker = app.worker(prepare_child=partial(_prepare_child, plan.reference, set_up), **plan.worker_options())
    listener = _Listener(worker, signals, supervisor)
    listener.report(Loaded(app.settings.processes, app.settings.log_level))
    Threads(worker.fail).start("drivetrain-signals", listener.listen)
    _spare_the_collector()
    try:
        worker.run()
    except DrivetrainError as error:
        if not isinstance(error, WorkerFailed):
            raise
        logger.critical("%s", error)
        code = Exit.FAILED
    except BaseException:  # said in the log, and by the exit code, which the supervisor reads
        logger.exception("worker %s has failed", worker.options.name)
        code = Exit.FAILED
    else:
        code = Exit.OK
    if worker.abandoned:
        _vanish(code)
    app.close()
    return code


def _log_as_planned(plan: WorkerPlan, app: App) -> Callable[[], None] | None:
    """Set up logging, unless the app does so itself; what does the same in a child process, where it is to be done."""
    if app.settings.configure_logging:
        set_up = partial(set_up_logging, plan.log_level or app.settings.log_level, plan.log_format or "text")
        set_up()
        return set_up
    if plan.log_level or plan.log_format:
        logger.warning("--log-level and --log-format change nothing here: the app sets up logging (configure_logging)")
    return None


def _prepare_child(reference: str, set_up: Callable[[], None] | None) -> None:
    """Let a child process of the worker be set up as the worker is: by the app's module, which tasks may count on."""
    try:
        load_app(reference)
    except DrivetrainError:
        logger.warning("a child process cannot import %s as its worker did", reference, exc_info=True)
    if set_up is not None:
        set_up()


def _spare_the_collector() -> None:
    """What is loaded by now stays, and what a batch of tasks makes dies young: both need not be looked at so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _vanish(code: Exit) -> None:
    """End now: tasks that were given back still run in threads here, and may begin elsewhere any moment."""
    for child in multiprocessing.active_children():
        child.kill()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Listener:
    """Passes on to a worker what signals and the supervisor say, and to the supervisor what it is to know."""

    def __init__(self, worker: Worker, signals: Signals, supervisor: connection.Connection[Any, Any] | None) -> None:
        self._worker = worker
        self._signals = signals
        self._supervisor = supervisor
        self._urgency = 0
        self._signals_seen = 0

    def report(self, report: Loaded | Stopping) -> None:
        """Tell the supervisor, if there is one."""
        if self._supervisor is not None:
            with suppress(OSError):  # it has died, which is seen where it is listened to
                self._supervisor.send(report)

    def listen(self) -> None:
        """Do so until the signals are left."""
        while not self._signals.exited:
            supervisor = [] if self._supervisor is None else [self._supervisor]
            ready = connection.wait([self._signals.reader, *supervisor])
            if self._supervisor in ready:
                self._stop(self._read_order())
            if Arrived.STOP in self._signals.arrived():
                self._signals_seen += 1
                self._stop(self._signals_seen)

    def _read_order(self) -> int:
        assert self._supervisor is not None  # noqa: S101
        try:
            order: int = self._supervisor.recv()
        except (EOFError, OSError):
            logger.warning("the supervisor has died")
            self._supervisor = None
            return Stop.GENTLY
        return order

    def _stop(self, urgency: int) -> None:
        # A signal to the whole group of processes reaches us, and the supervisor who passes it on: that is one.
        if urgency <= self._urgency:
            return
        self._urgency = urgency
        self.report(Stopping())
        if urgency >= Stop.DEAD:
            logger.warning("stopped before all tasks were given back; they are delivered again when their leases end")
            _vanish(Exit.FAILED)
        at_once = urgency == Stop.AT_ONCE
        self._worker.stop(grace_seconds=0.0 if at_once else None, wait=False)
        logger.info("stopping%s", ": what runs is given back" if at_once else "; a second signal stops at once")
