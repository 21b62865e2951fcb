"""Handles to results: wait for a result, read it, cancel its workflow, drop it from the backend."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drivetrain.app.blockers import WaitReport, find_blockers
from drivetrain.app.blocking import warn_if_loop_runs
from drivetrain.app.progress import Progress, ProgressCallback
from drivetrain.app.progress_changes import ProgressChanges, show_progress
from drivetrain.app.progress_reading import ProgressReader
from drivetrain.app.services import Services
from drivetrain.app.waiting import Ended, wait_for_any
from drivetrain.contract import (
    DrivetrainError,
    GroupRecord,
    ResultLost,
    ResultTimeout,
    ServiceUnavailable,
    State,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskRecord,
    UnknownResult,
)
from drivetrain.worker.context import awaiting, task_or_none
from drivetrain.worker.retrying import Retrier
from drivetrain.workflow.habits import RESULT_HABITS, raise_unknown

__all__ = ["GroupResult", "Progress", "Result"]

logger = logging.getLogger("drivetrain")

R = TypeVar("R")
T = TypeVar("T")

#: For a task that waits for another task.
_ADVICE = (
    "a waiting task blocks a worker slot, and if all slots wait, the worker deadlocks; "
    "pass the result on instead, with chain(…), chord(…) or on_success"
)

#: After a wait of this length a `ResultTimeout` says what the result waits for, in seconds. It costs a few reads.
_EXPLAINED_SECONDS = 1.0

#: How long a task waits without a time limit before that is logged, in seconds.
_QUIET_SECONDS = 5.0

_ERRORS = {State.FAILURE: TaskFailed, State.CANCELLED: TaskCancelled, State.EXPIRED: TaskExpired}


class Result(Generic[R]):
    """A handle to the result of a task, or of a workflow. It contains no result. Thread-safe.

    ``app.result(id)`` makes the same handle in another process.
    """

    def __init__(
        self,
        services: Services,
        task_id: str,
        members: Sequence[Result[Any]] = (),
        parts: Sequence[str] = (),
        *,
        task: str = "",
    ) -> None:
        """Make it; applications use ``app.send`` or ``app.result`` instead.

        Args:
            services: the services of the app whose backend is asked.
            task_id: the task or group whose result is the result of the workflow.
            members: for a group: the handles of its members.
            parts: the ids of all tasks and groups of the workflow.
            task: the name of the task, where it is known.
        """
        self._services = services
        self.id = task_id
        self.task = task
        self.members = tuple(members)
        self._parts = tuple(parts) or (task_id,)
        #: What it waited for when that was read last, in words; empty: unknown.
        self._waiting = ""

    def get(self, timeout: float | None = None, *, progress: ProgressCallback | bool | None = None) -> R:
        """Wait for the result, and return it.

        Args:
            timeout: how long to wait at most, in seconds; None: without limit.
            progress: called with ``(done, total)`` as these change, see `Progress`; True: a progress bar (needs the
                extra ``progress``).

        Raises:
            TaskFailed: it ended without success (also TaskCancelled, TaskExpired); carries the task's error.
            ResultTimeout: it has not ended in time.
            UnknownResult: the backend has no record of it.
            ResultLost: the backend has dropped a record on which it depends.
            ServiceUnavailable: the backend could not be reached in time.
        """
        warn_if_loop_runs("result.get()", "await result, or await result.get_async(timeout)")
        clock = self._services.runtime.clock
        began = clock.monotonic()
        if progress:
            with awaiting(self.id):
                show_progress(self.progress_changes(timeout=timeout), progress)
        ended: Ended = {}
        if timeout is None and (waiting := task_or_none()) is not None and not (ended := self._ended_soon()):
            logger.warning("task %s waits without a time limit for task %s; %s", waiting.task, self.id, _ADVICE)
        remaining = _remaining(timeout, clock.monotonic() - began)
        if not (ended := ended or self._ended(remaining)):
            self._note_waiting(timeout)
            raise self._timeout(timeout)
        remaining = _remaining(timeout, clock.monotonic() - began)
        return self._value(ended[self.id] or self._record(remaining), remaining)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, with success or without; whether it has ended.

        Args:
            timeout: how long to wait at most, in seconds; None: without limit.

        Raises:
            ServiceUnavailable: the backend could not be reached in time.
        """
        warn_if_loop_runs("result.wait()", "await result.get_async(timeout)")
        return bool(self._ended(timeout))

    def _ended(self, timeout: float | None) -> Ended:
        with awaiting(self.id):
            return self._services.waiter.wait(self.id, timeout)

    def _ended_soon(self) -> Ended:
        """As `_ended`, for a few seconds; empty while the backend is unavailable, since the caller waits on."""
        try:
            return self._ended(_QUIET_SECONDS)
        except ServiceUnavailable:
            return {}

    def __await__(self) -> Generator[Any, None, R]:
        """``await result``: as `get`, without blocking the event loop."""
        return self.get_async().__await__()

    async def get_async(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - the same parameter as `get`
        """As `get`, for ``async`` code."""
        import asyncio  # seven megabytes; an application without coroutines does not need them

        clock = self._services.runtime.clock
        began = clock.monotonic()
        with awaiting(self.id):
            ended = await asyncio.wrap_future(self._services.waiter.submit(self.id, timeout))
        if not ended:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._services.readers, self._note_waiting, timeout)
            raise self._timeout(timeout)
        if (record := ended[self.id]) is None:
            raise UnknownResult(self.id)
        remaining = _remaining(timeout, clock.monotonic() - began)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._services.readers, self._value, record, remaining)

    def state(self) -> State:
        """Its state; PENDING for a group that is not complete.

        Raises:
            UnknownResult: the backend has no record of it.
            ServiceUnavailable: the backend could not be reached in time.
        """
        return self.record().state

    def record(self) -> TaskRecord:
        """Its record: state, attempt, worker, the time of each state.

        Raises:
            UnknownResult: the backend has no record of it.
            ServiceUnavailable: the backend could not be reached in time.
        """
        return self._record(self._services.settings.send_seconds)

    async def state_async(self) -> State:
        """As `state`, for ``async`` code."""
        return (await self.record_async()).state

    async def record_async(self) -> TaskRecord:
        """As `record`, for ``async`` code."""
        return await self._in_thread(self.record)

    async def cancel_async(self) -> bool:
        """As `cancel`, for ``async`` code."""
        return await self._in_thread(self.cancel)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._services.readers, call)

    def _record(self, limit_seconds: float | None) -> TaskRecord:
        runtime = self._services.runtime
        retrier = Retrier(runtime.clock, limit_seconds=limit_seconds)
        record = retrier.call("read", lambda: runtime.backend.read([self.id]))[0]
        if record is None:
            raise UnknownResult(self.id)
        return record

    def progress(self) -> Progress:
        """How much is done of how much, now; see `Progress` for what is counted.

        Works in any process, by the id alone, for tasks, chains, groups and chords.

        Raises:
            UnknownResult: the backend has no record of it.
            ServiceUnavailable: the backend could not be reached in time.
        """
        reader = ProgressReader(self._services.runtime, self.id)
        return self._services.with_retries("read progress", reader.read)[0]

    def progress_changes(self, *, timeout: float | None = None) -> ProgressChanges:
        """The progress now and after each change, until it has ended: ``for`` and ``async for`` iterate over it.

        Args:
            timeout: how long to wait at most for its end, in seconds; None: without limit. The iteration then ends.
        """
        return ProgressChanges(self._services, self.id, timeout)

    def cancel(self) -> bool:
        """Cancel every task of the workflow that has not ended, and all tasks that depend on it.

        A running task continues and its result is ignored; on the event loop or in a child process it is stopped. A
        handle made by ``app.result(id)`` cancels that task and the tasks that depend on it.

        Returns:
            Whether any of them is cancelled, by this call or by an earlier one; False if all had ended before.
        """
        return self._services.sender.cancel(self._parts)

    def forget(self) -> None:
        """Drop the results of the workflow from the backend. Unfinished tasks continue, and keep their results."""
        backend = self._services.runtime.backend
        self._services.with_retries("forget", lambda: backend.shorten_retention(self._parts, retention_seconds=0.0))

    def _value(self, record: TaskRecord, limit_seconds: float | None) -> R:
        decoder = self._services.decoder
        if record.state is State.SUCCESS:
            value: R = decoder.value(record, self, limit_seconds=limit_seconds)
            return value
        if not record.state.terminal:
            text = f"task {self.id} will never run: the backend has dropped a record on which it depends"
            raise ResultLost(self.id, text)
        raise _ERRORS[record.state](self.id, decoder.failure(record))

    def waits_for(self) -> WaitReport:
        """What it waits for: its unfinished predecessor or members, or a worker that serves its queue.

        ``str`` of it says so in words. It is empty if the task has ended.

        Raises:
            UnknownResult: the backend has no record of it.
            ServiceUnavailable: the backend could not be reached in time.
        """
        record = self.record()
        runtime = self._services.runtime
        report = self._services.with_retries("read", lambda: find_blockers(runtime, record.task_id))
        self._waiting = str(report)
        return report

    def _note_waiting(self, timeout: float | None) -> None:
        """Note what it waits for, for a `ResultTimeout` and `repr`, after a wait that was long enough."""
        if timeout is None or timeout < _EXPLAINED_SECONDS:
            return
        try:
            self._waiting = str(find_blockers(self._services.runtime, self.id))
        except DrivetrainError as error:
            logger.debug("cannot tell what task %s waits for: %s", self.id, error)

    def _timeout(self, timeout: float | None) -> ResultTimeout:
        text = f"task {self.id} has not ended within {timeout} seconds; it is not cancelled, so you can wait again"
        if self._waiting:
            text += f". It {self._waiting}" if self._waiting.startswith("waits") else f". It is {self._waiting}"
        if (waiting := task_or_none()) is not None:
            text += f". Task {waiting.task} waited for it; {_ADVICE}"
        return ResultTimeout(self.id, text)

    if not TYPE_CHECKING:  # a type checker must find that there is no such method

        def __getattr__(self, name: str) -> Any:
            raise_unknown("a result", name, RESULT_HABITS)

    def __repr__(self) -> str:
        # What was read last: `repr` asks no service.
        return f"<{type(self).__name__} {self.id}{f', {self._waiting}' if self._waiting else ''}>"


class GroupResult(Result[list[T]]):
    """A handle to the result of a group. Iterating over it gives the handles of its members as they complete."""

    members: tuple[Result[T], ...]

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Result[T]]:
        return self.as_completed()

    def as_completed(self, timeout: float | None = None) -> Iterator[Result[T]]:
        """The handles of the members, each as soon as it has ended, with success or without.

        Args:
            timeout: how long to wait at most for all of them, in seconds; None: without limit.

        Raises:
            ResultTimeout: not all have ended in time.
            ServiceUnavailable: the time has passed, and the backend could not be reached at its end.
        """
        waiting = {member.id: member for member in self.members}
        runtime, poll_seconds = self._services.runtime, self._services.settings.poll_seconds
        began = runtime.clock.monotonic()
        while waiting:
            remaining = None if timeout is None else timeout - (runtime.clock.monotonic() - began)
            with awaiting(*waiting):
                ended = wait_for_any(self._services.runtime, list(waiting), remaining, poll_seconds)
            if not ended:
                self._note_waiting(timeout)
                raise self._timeout(timeout)
            for task_id in ended:
                yield waiting.pop(task_id)

    def done(self) -> int:
        """The number of members that are complete now."""
        backend = self._services.runtime.backend
        return self._done(self._services.with_retries("read groups", lambda: backend.read_groups([self.id])))

    def _done(self, groups: Sequence[GroupRecord | None]) -> int:
        return 0 if groups[0] is None else groups[0].done


def _remaining(timeout: float | None, waited_seconds: float) -> float | None:
    return None if timeout is None else max(0.0, timeout - waited_seconds)
