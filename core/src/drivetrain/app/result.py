"""Handles to what was sent: wait for it, read it, cancel it, forget it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drivetrain.app.waiting import Ended, pause, wait_for_any
from drivetrain.contract import (
    Failure,
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
from drivetrain.worker.context import task_or_none
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.retrying import Retrier

if TYPE_CHECKING:
    from drivetrain.app.application import App

__all__ = ["GroupResult", "Progress", "Result", "group_task"]

logger = logging.getLogger("drivetrain")

R = TypeVar("R")
T = TypeVar("T")

#: For who waits inside a task.
_ADVICE = (
    "it keeps a place of its worker busy meanwhile, and if all places wait, nothing goes on; "
    "let what follows take the result instead: chain(…), chord(…) or on_success"
)

#: And how long it waits before it is logged, if it has no limit, in seconds.
_UNTOLD_SECONDS = 5.0

#: Called with how many members are complete, and how many there are.
Progress = Callable[[int, int], object]

#: How often progress is looked at, in seconds.
_PROGRESS_SECONDS = 0.1
_ERRORS = {State.FAILURE: TaskFailed, State.CANCELLED: TaskCancelled, State.EXPIRED: TaskExpired}


class Result(Generic[R]):
    """A handle to the result of a task, or of a workflow. Holds no result itself. Thread-safe.

    ``app.result(id)`` gives the same handle in another process.
    """

    def __init__(
        self,
        app: App,
        task_id: str,
        members: Sequence[Result[Any]] = (),
        parts: Sequence[str] = (),
        *,
        task: str = "",
    ) -> None:
        """Make it; use ``app.send`` or ``app.result`` instead.

        Args:
            app: whose backend is asked.
            task_id: the task, or the group, whose result is that of the whole.
            members: for a group: the handles of its members.
            parts: the ids of all tasks and groups of the workflow.
            task: the name of the task, where it is known.
        """
        self._app = app
        self.id = task_id
        self.task = task
        self.members = tuple(members)
        self._parts = tuple(parts) or (task_id,)

    def get(self, timeout: float | None = None, *, progress: Progress | bool | None = None) -> R:
        """Wait for the result, and give it.

        Args:
            timeout: how long at most, in seconds; None: as long as it takes.
            progress: for a group: called as members complete; True: a progress bar (needs the extra ``progress``).

        Raises:
            TaskFailed: it ended without success (TaskCancelled, TaskExpired among them); carries the task's error.
            ResultTimeout: it has not ended in time.
            UnknownResult: nothing is known of it; ResultLost: or of what it waits for.
            ServiceUnavailable: the backend could not be reached in time.
        """
        clock = self._app.runtime.clock
        began = clock.monotonic()
        if progress:
            self._show_progress(progress, timeout)
        ended: Ended = {}
        if timeout is None and (waiting := task_or_none()) is not None and not (ended := self._ended_soon()):
            logger.warning("task %s waits without a limit for task %s; %s", waiting.task, self.id, _ADVICE)
        left = _left(timeout, clock.monotonic() - began)
        if not (ended := ended or self._ended(left)):
            raise self._timeout(timeout)
        left = _left(timeout, clock.monotonic() - began)
        return self._value(ended[self.id] or self._record(left), left)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, whichever way; whether it has.

        Args:
            timeout: how long at most, in seconds; None: as long as it takes.

        Raises:
            ServiceUnavailable: the backend could not be reached in time.
        """
        return bool(self._ended(timeout))

    def _ended(self, timeout: float | None) -> Ended:
        return self._app.waiter.wait(self.id, timeout)

    def _ended_soon(self) -> Ended:
        """As `_ended`, for a moment, while the backend may be away: it is waited for on afterwards."""
        try:
            return self._ended(_UNTOLD_SECONDS)
        except ServiceUnavailable:
            return {}

    def __await__(self) -> Generator[Any, None, R]:
        """``await result``: as `get`, while the event loop goes on."""
        return self.get_async().__await__()

    async def get_async(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - the same words as `get`
        """As `get`, for ``async`` code."""
        import asyncio  # seven megabytes, which who does not await need not pay

        clock = self._app.runtime.clock
        began = clock.monotonic()
        ended = await asyncio.wrap_future(self._app.waiter.submit(self.id, timeout))
        if not ended:
            raise self._timeout(timeout)
        if (record := ended[self.id]) is None:
            raise UnknownResult(self.id)
        left = _left(timeout, clock.monotonic() - began)
        return await asyncio.get_running_loop().run_in_executor(self._app.readers, self._value, record, left)

    def state(self) -> State:
        """The state of it; PENDING for a group that is not complete.

        Raises:
            UnknownResult: nothing is known of it.
        """
        return self.record().state

    def record(self) -> TaskRecord:
        """All that the backend knows of it: state, attempt, worker, the time of each state.

        Raises:
            UnknownResult: nothing is known of it.
            ServiceUnavailable: the backend could not be reached in time.
        """
        return self._record(self._app.settings.send_seconds)

    def _record(self, limit_seconds: float | None) -> TaskRecord:
        runtime = self._app.runtime
        retrier = Retrier(runtime.clock, limit_seconds=limit_seconds)
        record = retrier.call("read", lambda: runtime.backend.read([self.id]))[0]
        if record is None:
            raise UnknownResult(self.id)
        return record

    def cancel(self) -> bool:
        """Cancel every task of the workflow that has not ended, and all that waits for it.

        Returns whether any of them is cancelled, by this call or by an earlier one; False if all had ended before.
        A task that runs goes on, unless it is on the event loop or in a child process (these are stopped), but its
        result counts no more. A handle made by ``app.result(id)`` knows, and cancels, that task and what waits for it.
        """
        return self._app.cancel(*self._parts)

    def forget(self) -> None:
        """Drop the results of the whole workflow from the backend. What has not ended goes on, and keeps its result."""
        backend = self._app.runtime.backend
        self._app.with_retries("forget", lambda: backend.shorten_retention(self._parts, retention_seconds=0.0))

    def _value(self, record: TaskRecord, limit_seconds: float | None) -> R:
        if record.state is State.SUCCESS:
            value: R = self._app.decode_result(record, self, limit_seconds=limit_seconds)
            return value
        runtime = self._app.runtime
        if not record.state.terminal:
            raise ResultLost(self.id, f"what task {self.id} waits for was dropped by the backend; it will never run")
        plain = None if record.payload is None else runtime.payloads.load(record.payload)
        failure = runtime.registry.codec.decode(plain, Failure)
        raise _ERRORS[record.state](self.id, failure)

    def _show_progress(self, _progress: Progress | bool, _timeout: float | None, /) -> None:
        raise TypeError("progress= is for the result of a group")

    def _timeout(self, timeout: float | None) -> ResultTimeout:
        told = f"task {self.id} has not ended within {timeout} seconds; it goes on, ask again"
        if (waits := task_or_none()) is not None:
            told += f". Task {waits.task} waited for it; {_ADVICE}"
        return ResultTimeout(self.id, told)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class GroupResult(Result[list[T]]):
    """A handle to the result of a group. Iterating over it gives its members' handles as they complete."""

    members: tuple[Result[T], ...]

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Result[T]]:
        return self.as_completed()

    def as_completed(self, timeout: float | None = None) -> Iterator[Result[T]]:
        """The handles of the members, each as soon as it has ended, whichever way.

        Args:
            timeout: how long at most for all of them, in seconds; None: as long as it takes.

        Raises:
            ResultTimeout: not all have ended in time.
            ServiceUnavailable: the time is out, and the backend could not be reached at the end of it.
        """
        waiting = {member.id: member for member in self.members}
        clock = self._app.runtime.clock
        began = clock.monotonic()
        while waiting:
            left = None if timeout is None else timeout - (clock.monotonic() - began)
            ended = wait_for_any(self._app.runtime, list(waiting), left, self._app.settings.poll_seconds)
            if not ended:
                raise self._timeout(timeout)
            for task_id in ended:
                yield waiting.pop(task_id)

    def done(self) -> int:
        """How many members are complete now."""
        backend = self._app.runtime.backend
        return self._done(self._app.with_retries("read groups", lambda: backend.read_groups([self.id])))

    def _show_progress(self, progress: Progress | bool, timeout: float | None, /) -> None:
        report = self._app.progress_bar(len(self)) if progress is True else progress
        if not callable(report):
            raise TypeError(f"progress is {progress!r}; it must be a function of (done, total), or True")
        runtime, ended = self._app.runtime, False
        began, seen = runtime.clock.monotonic(), -1
        while not ended and (timeout is None or runtime.clock.monotonic() - began < timeout):
            try:
                ended = self.wait(_PROGRESS_SECONDS)
                done = self._done(runtime.backend.read_groups([self.id]))
            except ServiceUnavailable as error:
                logger.warning("progress of group %s: %s; trying again", self.id, error)
                left = _left(timeout, runtime.clock.monotonic() - began)
                pause(runtime, self._app.settings.poll_seconds, left)
                continue
            if done != seen:
                report(done, len(self))
                seen = done

    def _done(self, groups: Sequence[GroupRecord | None]) -> int:
        return 0 if groups[0] is None else groups[0].done


def _left(timeout: float | None, waited: float) -> float | None:
    return None if timeout is None else max(0.0, timeout - waited)


def group_task(record: TaskRecord) -> bool:
    """Whether a record is that of a group."""
    return record.task == GROUP_TASK
