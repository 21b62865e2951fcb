"""Runs one worker in this process: sets up its logging, passes signals on, ends it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import partial
from multiprocessing import connection
from typing import Any, TypeAlias
from uuid import uuid4

from attrs import field, frozen

from drivetrain.app.application import App
from drivetrain.cli.app_loading import load_app
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.load_reports import LoadReport, LoadReporter, LoadRequest
from drivetrain.cli.logging_setup import set_up_logging
from drivetrain.cli.plugin_reports import pickled_parts, serve_reports
from drivetrain.cli.signals import Arrived, Signals
from drivetrain.contract import DrivetrainError, WorkerFailed
from drivetrain.worker.functions import unannotated_parameters
from drivetrain.worker.logs import get_logger
from drivetrain.worker.status import Scale
from drivetrain.worker.threads import Threads
from drivetrain.worker.worker import Worker

__all__ = ["Loaded", "Order", "Refused", "Stop", "Stopping", "Supervision", "WorkerPlan", "work"]

logger = get_logger("drivetrain.worker")

#: The threshold of Python's garbage collector for young objects: some batches of tasks.
_YOUNG_OBJECTS = 10_000
#: How many tasks without annotations a warning names.
_MOST_NAMED = 5


class Stop(IntEnum):
    """How urgently a worker must stop."""

    #: When its running tasks have ended, however long they take: the worker has a process too many.
    RETIRE = 0
    GENTLY = 1
    #: Give back running tasks.
    AT_ONCE = 2
    #: End at once: releasing takes too long.
    DEAD = 3


#: What a supervisor sends: a `Stop`, how many processes there are, or a request.
Order: TypeAlias = int | Scale | LoadRequest


@frozen
class Loaded:
    """The report of a worker process to its supervisor when it has made its worker."""

    #: From the app's settings.
    processes: int
    log_level: str
    #: The parts of plugins that run in the supervisor; see `drivetrain.cli.plugin_reports.pickled_parts`.
    parts: Sequence[tuple[str, bytes]] = ()


@frozen
class Refused:
    """The report of a worker process before it ends because of wrong usage or configuration."""

    #: For the user.
    message: str


@frozen
class Stopping:
    """The report of a worker process when a signal or an order stops it."""


@frozen(kw_only=True)
class WorkerPlan:
    """The options of a worker from the command line. It is sent to the worker processes."""

    #: ``module:attribute``.
    reference: str
    #: Options of `App.worker`, except the name.
    options: Mapping[str, Any] = field(factory=dict)
    #: The start of its name, instead of the host name.
    name: str | None = None
    #: None: from the settings.
    log_level: str | None = None
    log_format: str | None = None
    #: The number of processes; None: from the settings.
    processes: int | None = None
    #: Whether errors are shown with their tracebacks.
    verbose: bool = False
    #: Plugins beyond those of the app.
    plugins: Sequence[str] = ()
    #: The smallest and the largest number of processes; None: the number is fixed.
    autoscale: tuple[int, int] | None = None

    def worker_options(self) -> dict[str, Any]:
        """The options of one worker. Each worker has a unique name, so that their leases cannot be confused."""
        if self.name is None:
            return dict(self.options)
        return {**self.options, "name": f"{self.name}:{os.getpid()}:{uuid4().hex[:6]}"}


@frozen
class Supervision:
    """The connections of a worker process to its supervisor."""

    #: The supervisor sends each `Order`, and receives reports. When it closes, the supervisor has died.
    orders: connection.Connection[Any, Any]
    #: For the reports of plugins; see `drivetrain.cli.plugin_reports`.
    reports: connection.Connection[Any, Any]


def work(plan: WorkerPlan, app: App, signals: Signals, supervision: Supervision | None = None) -> Exit:
    """Run a worker in this thread until it is stopped; the exit code.

    Args:
        plan: the options of the command line.
        app: the app of the worker.
        signals: the first stop signal stops it gracefully, the second at once.
        supervision: the connections to a supervisor; None: there is none.
    """
    set_up = _log_as_planned(plan, app)
    prepare_child = partial(_prepare_child, plan.reference, tuple(plan.plugins), set_up)
    worker = app.worker(prepare_child=prepare_child, **plan.worker_options())
    listener = _Listener(worker, signals, None if supervision is None else supervision.orders)
    threads = Threads(worker.fail)
    parts = [] if supervision is None else pickled_parts(app.plugins)
    if supervision is not None and parts:
        threads.start("drivetrain-reports", partial(serve_reports, supervision.reports, app.plugins))
    if supervision is not None and plan.autoscale is not None:
        listener.load_reporter = LoadReporter(app, worker, listener.report)
        threads.start("drivetrain-load", listener.load_reporter.run)
    listener.report(Loaded(app.settings.processes, app.settings.log_level, parts))
    threads.start("drivetrain-signals", listener.listen)
    _warn_of_unchecked_tasks(app)
    _tune_garbage_collector()
    try:
        worker.run()
    except DrivetrainError as error:
        if not isinstance(error, WorkerFailed):
            raise
        logger.critical("%s", error)
        code = Exit.FAILED
    except BaseException:  # logged here; the supervisor reads the exit code
        logger.exception("worker %s has failed", worker.options.name)
        code = Exit.FAILED
    else:
        code = Exit.OK
    if worker.stop_request is not None:
        listener.report(Stopping())  # so that the supervisor starts no other
    if worker.abandoned:
        _vanish(code)
    app.close()
    return code


def _log_as_planned(plan: WorkerPlan, app: App) -> Callable[[], None] | None:
    """Set up logging, unless the app does; the function that sets it up in a child process, or None."""
    if app.settings.configure_logging:
        set_up = partial(set_up_logging, plan.log_level or app.settings.log_level, plan.log_format or "text")
        set_up()
        return set_up
    if plan.log_level or plan.log_format:
        logger.warning("--log-level and --log-format change nothing here: the app sets up logging (configure_logging)")
    return None


def _warn_of_unchecked_tasks(app: App) -> None:
    unchecked = {name: unannotated_parameters(task.function) for name, task in app.tasks.items()}
    texts = [f"{name} ({', '.join(parameters)})" for name, parameters in unchecked.items() if parameters]
    if texts:
        more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
        named = ", ".join(texts[:_MOST_NAMED])
        logger.warning("`send` cannot check arguments without annotations: %s%s; annotate them", named, more)


def _prepare_child(reference: str, plugins: Sequence[str], set_up: Callable[[], None] | None) -> None:
    """Set up a child process as the worker: import the app's module, on which tasks may rely, and set up logging."""
    try:
        load_app(reference).add_plugins(*plugins)
    except DrivetrainError:
        logger.warning("a child process cannot import %s as its worker did", reference, exc_info=True)
    if set_up is not None:
        set_up()


def _tune_garbage_collector() -> None:
    """Collect less often: loaded modules live as long as the process, and the objects of tasks die young."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _vanish(code: Exit) -> None:
    """End this process at once: tasks that were released still run here, and may begin in another worker."""
    for child in multiprocessing.active_children():
        child.kill()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Listener:
    """Passes stop requests from signals and the supervisor to a worker, and reports to the supervisor."""

    def __init__(self, worker: Worker, signals: Signals, supervisor: connection.Connection[Any, Any] | None) -> None:
        self._worker = worker
        self._signals = signals
        self._supervisor = supervisor
        #: Of the most urgent order so far; -1: there was none.
        self._urgency = -1
        self._signals_seen = 0
        self._sending = threading.Lock()
        #: Reports the load; None: no supervisor asks for it.
        self.load_reporter: LoadReporter | None = None

    def report(self, report: Loaded | Stopping | LoadReport) -> None:
        """Report to the supervisor, if there is one. Thread-safe."""
        supervisor = self._supervisor
        if supervisor is not None:
            with self._sending, suppress(OSError):  # it has died; `listen` notices that
                supervisor.send(report)

    def listen(self) -> None:
        """Pass requests on until the context of the signals is exited."""
        while not self._signals.exited:
            supervisor = [] if self._supervisor is None else [self._supervisor]
            ready = connection.wait([self._signals.reader, *supervisor])
            if self._supervisor in ready:
                self._follow(self._read_order())
            if Arrived.STOP in self._signals.arrived():
                self._signals_seen += 1
                self._stop(self._signals_seen)

    def _follow(self, order: Order) -> None:
        if isinstance(order, Scale):
            self._worker.show_scale(order)
        elif isinstance(order, LoadRequest):
            if self.load_reporter is not None:
                self.load_reporter.request(order)
        else:
            self._stop(order)

    def _read_order(self) -> Order:
        assert self._supervisor is not None  # noqa: S101
        try:
            order: Order = self._supervisor.recv()
        except (EOFError, OSError):
            logger.warning("the supervisor has died")
            self._supervisor = None
            return Stop.GENTLY
        return order

    def _stop(self, urgency: int) -> None:
        # A signal to the process group reaches this process twice, directly and through the supervisor. It counts once.
        if urgency <= self._urgency:
            return
        self._urgency = urgency
        self.report(Stopping())
        if urgency == Stop.RETIRE:
            self._worker.retire()
            logger.info("retiring; ends when its tasks have ended")
            return
        if urgency >= Stop.DEAD:
            logger.warning("stopped before all tasks were released; they are delivered again when their leases end")
            _vanish(Exit.FAILED)
        at_once = urgency == Stop.AT_ONCE
        self._worker.stop(grace_seconds=0.0 if at_once else None, wait=False)
        logger.info("stopping%s", "; releasing running tasks" if at_once else "; a second signal stops at once")
