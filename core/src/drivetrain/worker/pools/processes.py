"""Tasks in child processes, one process to a slot: a death or a time limit ends one task and no other."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from attrs import frozen
from msgspec.structs import replace

from drivetrain.contract import ConfigurationError, Delivery, Message
from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.execution import Execution
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.run import Ending, Run, marks
from drivetrain.workflow.frames import Invocation

__all__ = ["ProcessPool", "TaskReference"]

logger = logging.getLogger("drivetrain.worker")


@frozen
class TaskReference:
    """Where a child process finds a task: an attribute of a module that was made by ``@app.task``."""

    module: str
    qualname: str

    @classmethod
    def to(cls, definition: TaskDefinition) -> TaskReference:
        """The reference to a task.

        Raises:
            ConfigurationError: it cannot be found from another process.
        """
        reference = cls(definition.function.__module__, definition.function.__qualname__)
        try:
            found = reference.find()
        except (ImportError, AttributeError):
            found = None
        if getattr(getattr(found, "definition", None), "name", None) != definition.name:
            raise ConfigurationError(
                f"task {definition.name!r} asks for the processes pool, but {reference.module}.{reference.qualname} is "
                "not that task; define it at the top of a module, under @app.task"
            )
        return reference

    def find(self) -> Any:
        """The task; imports its module."""
        found: Any = importlib.import_module(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return found


class ProcessPool:
    """A fixed number of child processes, each with a thread here that feeds it. Children start at first use."""

    def __init__(
        self,
        size: int,
        execution: Execution,
        options: WorkerOptions,
        done: Callable[[Ending], None],
        died: Callable[[Run], None],
    ) -> None:
        self._execution = execution
        self._done = done
        self._died = died
        self._waiting: SimpleQueue[Run | None] = SimpleQueue()
        self._slots = [_Slot(options) for _ in range(size)]
        self._ending = threading.Event()
        for number, slot in enumerate(self._slots):
            threading.Thread(target=self._work, args=(slot,), name=f"drivetrain-child-{number}", daemon=True).start()

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        for run in runs:
            self._waiting.put(run)

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        with suppress(Empty):
            while (run := self._waiting.get_nowait()) is not None:
                runs.append(run)
            self._waiting.put(None)
        return runs

    def cancel(self, run: Run) -> None:
        """Kill the process that runs it."""
        for slot in self._slots:
            slot.kill(run)

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._ending.set()
        for slot in self._slots:
            self._waiting.put(None)
            slot.close()

    def _work(self, slot: _Slot) -> None:
        while (run := self._waiting.get()) is not None:
            ending = self._attempt(slot, run)
            if ending is not None:
                self._done(ending)

    def _attempt(self, slot: _Slot, run: Run) -> Ending | None:
        try:
            self._execution.admit(run)
            return slot.execute(run)
        except BrokenProcessPool as error:
            return self._broken(run, error)
        except Exception as error:  # noqa: BLE001 - its time is over, or the child cannot find it, or cannot hand over the result
            return self._execution.failed(run, error)

    def _broken(self, run: Run, error: BrokenProcessPool) -> Ending | None:
        if self._ending.is_set():
            return None  # killed by us, after its run was given back
        if run.stopped:
            return self._execution.failed(run, error)  # killed by us, and not to be run here again
        logger.error("task %s: its child process died", run.task_id, extra=marks(run.invocation))
        try:
            self._died(run)
        except Exception:
            text = "task %s could not be given back; its message will come again"
            logger.exception(text, run.task_id, extra=marks(run.invocation))
        return None


class _Slot:
    """One child process at a time, replaced when it has died."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._executor: ProcessPoolExecutor | None = None
        #: Held while the next three change, or a process is killed because of them.
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._run: Run | None = None
        self._closed = False
        #: The modules that the child has imported, which takes its time and is no task's.
        self._imported: set[str] = set()

    def execute(self, run: Run) -> Ending:
        """The ending of ``run``; raises BrokenProcessPool when the child dies, TaskTimeout when it takes too long."""
        reference = TaskReference.to(run.definition)
        try:
            future = self._ready(reference).submit(_run_in_child, reference, run.invocation, self._options)
            self._serve(run)
            ending = self._wait(future, run.invocation.call.timeout)
        except BrokenProcessPool:
            self._forget()
            raise
        finally:
            self._serve(None)
        return replace(ending, delivery=run.delivery, invocation=run.invocation, run=run)

    def kill(self, run: Run) -> None:
        """Kill the child, if it is running ``run``."""
        with self._lock:
            if self._run is run:
                self._kill()

    def close(self) -> None:
        """Kill the child, whatever it runs, and every one that is still to come."""
        with self._lock:
            self._closed = True
            self._kill()

    def _serve(self, run: Run | None) -> None:
        with self._lock:
            self._run = run
            if run is not None and run.stopped:
                self._kill()  # it was to be killed before anybody knew where it runs

    def _kill(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _wait(self, future: Future[Ending], timeout_seconds: float | None) -> Ending:
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            if future.done():
                return future.result()  # at the last moment
            self._forget(kill=True)
            raise TaskTimeout from None

    def _forget(self, *, kill: bool = False) -> None:
        with self._lock:
            if kill:
                self._kill()
            # The number of a process that has ended may soon be somebody else's.
            self._executor = self._pid = None
            self._imported.clear()

    def _ready(self, reference: TaskReference) -> ProcessPoolExecutor:
        """The child, with the task's module imported."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare_child,
                initargs=(self._options.prepare_child,),
            )
            self._meet(self._executor.submit(os.getpid).result())
        if reference.module not in self._imported:
            self._executor.submit(_import_in_child, reference).result()
            self._imported.add(reference.module)
        return self._executor

    def _meet(self, pid: int) -> None:
        with self._lock:
            self._pid = pid
            if self._closed:
                self._kill()


def _import_in_child(reference: TaskReference) -> None:
    reference.find()


def _prepare_child(prepare: Callable[[], None] | None) -> None:
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
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run_in_child(reference: TaskReference, invocation: Invocation, options: WorkerOptions) -> Ending:
    task = reference.find()
    message = Message(id=invocation.call.id, queue=invocation.call.queue, body=b"")
    run = Run(
        id="child",
        delivery=Delivery(message=message, receipt=None),
        invocation=invocation,
        definition=task.definition,
        received_at=0.0,
    )
    ending = Execution(task.app.runtime, options).run(run)
    return replace(ending, run=None)
