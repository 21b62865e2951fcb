"""One worker in this process: its logging, its signals, its end."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from multiprocessing import connection
from typing import Any
from uuid import uuid4

from attrs import field, frozen

from drivetrain.app.application import App
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.logging_setup import set_up_logging
from drivetrain.cli.signals import Signals
from drivetrain.contract import DrivetrainError, WorkerFailed
from drivetrain.worker.logs import get_logger
from drivetrain.worker.threads import Threads
from drivetrain.worker.worker import Worker

__all__ = ["Stop", "WorkerPlan", "log_as_planned", "work"]

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

    def worker_options(self) -> dict[str, Any]:
        """The options of one worker. No two have the same name: the leases of one must not be taken for another's."""
        if self.name is None:
            return dict(self.options)
        return {**self.options, "name": f"{self.name}:{os.getpid()}:{uuid4().hex[:6]}"}


def log_as_planned(plan: WorkerPlan, app: App) -> Callable[[], None] | None:
    """Set up logging, unless the app does so itself; what does the same in a child process, where it is to be done."""
    if app.settings.configure_logging:
        set_up = partial(set_up_logging, plan.log_level or app.settings.log_level, plan.log_format or "text")
        set_up()
        return set_up
    if plan.log_level or plan.log_format:
        logger.warning("--log-level and --log-format change nothing: the app's setting configure_logging is false")
    return None


def work(plan: WorkerPlan, app: App, signals: Signals, orders: connection.Connection[Any, Any] | None = None) -> Exit:
    """Run a worker in this thread until it is told to stop.

    Args:
        plan: how.
        app: whose worker.
        signals: the first one stops it gently, the second at once.
        orders: where a supervisor sends `Stop`; its end means that the supervisor has died.
    """
    worker = app.worker(prepare_child=log_as_planned(plan, app), **plan.worker_options())
    Threads(worker.fail).start("drivetrain-signals", _Listener(worker, signals, orders).listen)
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
    """Passes on to a worker what signals and the supervisor say."""

    def __init__(self, worker: Worker, signals: Signals, orders: connection.Connection[Any, Any] | None) -> None:
        self._worker = worker
        self._signals = signals
        self._orders = orders
        self._urgency = 0
        self._signals_seen = 0

    def listen(self) -> None:
        """Do so until the signals are left."""
        while not self._signals.left:
            orders = [] if self._orders is None else [self._orders]
            ready = connection.wait([self._signals.reader, *orders])
            if self._orders in ready:
                self._stop(self._read_order())
            if self._signals.arrived():
                self._signals_seen += 1
                self._stop(self._signals_seen)

    def _read_order(self) -> int:
        assert self._orders is not None  # noqa: S101
        try:
            order: int = self._orders.recv()
        except (EOFError, OSError):
            logger.warning("the supervisor has died")
            self._orders = None
            return Stop.GENTLY
        return order

    def _stop(self, urgency: int) -> None:
        # A signal to the whole group of processes reaches us, and the supervisor who passes it on: that is one.
        if urgency <= self._urgency:
            return
        self._urgency = urgency
        if urgency >= Stop.DEAD:
            logger.warning("stopped before everything was given back; it comes again when its leases end")
            _vanish(Exit.FAILED)
        at_once = urgency == Stop.AT_ONCE
        self._worker.stop(grace_seconds=0.0 if at_once else None, wait=False)
        logger.info("stopping%s", ": what runs is given back" if at_once else "; a second signal stops at once")
