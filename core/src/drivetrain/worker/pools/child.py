"""What a child process of the processes pool does: it takes one order at a time from its worker, and answers each."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from types import FrameType
from typing import Any

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import Delivery, Message
from drivetrain.worker.execution import Execution
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.pools.reference import TaskReference
from drivetrain.worker.run import Ending, Run
from drivetrain.workflow.frames import Invocation

__all__ = ["Import", "Work", "serve"]


@frozen
class Import:
    """The order to import the module of a task, and to get its app ready: the time for that is no task's.

    The answer is the traceback of what went wrong, or None.
    """

    task: TaskReference


@frozen
class Work:
    """The order to run a task. The answer is its `Ending`, without the run."""

    task: TaskReference
    invocation: Invocation
    #: Until when the worker certainly holds the run, by the monotonic clock, which all processes of a machine share.
    held_until: float = math.inf
    #: After which time the run is not to begin any more; Unix seconds.
    expires_at: float | None = None


def serve(worker: connection.Connection[Any, Any], options: WorkerOptions) -> None:
    """Take orders until the worker closes its end. The main function of a child process."""
    _prepare(options.prepare_child)
    _keep_to_this_process(worker)
    while True:
        try:
            order = worker.recv()
        except EOFError:
            return
        worker.send(_imported(order.task) if isinstance(order, Import) else _run(order, options))


def _prepare(prepare: Callable[[], None] | None) -> None:
    # Ctrl-C, and service managers' SIGTERM, go to the whole group; the worker decides. A handler, unlike SIG_IGN, is
    # not inherited by the programs that a task starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _go_on)
    if prepare is not None:
        prepare()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    try:
        if parent is not None:
            connection.wait([parent.sentinel])
    finally:  # also when a task has closed what is waited for
        os._exit(1)


def _keep_to_this_process(worker: connection.Connection[Any, Any]) -> None:
    """Let the connection end with this process, whatever other processes a task starts and leaves behind."""
    os.set_inheritable(worker.fileno(), False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=worker.close)


def _imported(task: TaskReference) -> str | None:
    try:
        _ = task.find().app.runtime  # made at first use
    except BaseException:  # noqa: BLE001 - a module may raise anything, and the worker is to know
        return traceback.format_exc()
    return None


def _run(work: Work, options: WorkerOptions) -> Ending:
    task, call = work.task.find(), work.invocation.call
    message = Message(id=call.id, queue=call.queue, body=b"")
    run = Run(
        id="child",
        delivery=Delivery(message=message, receipt=None),
        invocation=work.invocation,
        definition=task.definition,
        received_at=0.0,
        held_until=work.held_until,
        expires_at=work.expires_at,
    )
    return replace(Execution(task.app.runtime, options).run(run), run=None)
