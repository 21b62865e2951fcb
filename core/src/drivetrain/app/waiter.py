"""Waits for the results of an app with two threads, for any number of tasks.

A running call of `Backend.wait` accepts no more tasks. So one thread waits in short turns for recent tasks, and new
tasks join its next turn. The other thread waits in long turns for older tasks. A quick result is seen at once, also
while thousands of slow tasks are waited for, and waiting for those costs little.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from attrs import define, field

from drivetrain.app.waiting import Ended, ended_among, pause, polling_pause_seconds, wait_for_any
from drivetrain.contract import ServiceUnavailable
from drivetrain.worker.runtime import Runtime

__all__ = ["Waiter"]

logger = logging.getLogger("drivetrain")

#: How many threads of the application may wait for the backend directly, which saves waking a second thread. The driver
#: has to wake each of them, so a larger number waits together.
_DIRECT = 8
#: The length of a short turn, in seconds: a new task waits at most this long for the next turn.
_SHORT_TURN_SECONDS = 0.02
#: A task that has not ended after this time joins the long turns, in seconds.
_RECENT_SECONDS = 0.25
_LONG_TURN_SECONDS = 1.0
#: What reading one task costs a service, at most, in seconds. A turn takes at least the cost of its tasks.
_COST_SECONDS = 1e-5
#: How long a thread without work waits for more, in seconds, before it ends.
_LINGER_SECONDS = 2.0


@define(eq=False)
class _Wait:
    task_id: str
    began: float
    #: None: without limit.
    deadline: float | None
    ended: Future[Ended] = field(factory=Future)


class Waiter:
    """Waits for tasks, on behalf of threads and coroutines. Thread-safe.

    Args:
        runtime: the drivers and the clock of the app.
        poll_seconds: the longest pause between two polls of a backend that does not notify, in seconds.
    """

    def __init__(self, runtime: Runtime, poll_seconds: float) -> None:
        self._runtime = runtime
        self._poll_seconds = poll_seconds
        self._direct = threading.Semaphore(_DIRECT)
        self._changed = threading.Condition()
        self._recent: list[_Wait] = []
        self._older: list[_Wait] = []
        self._threads: dict[str, threading.Thread] = {}

    def wait(self, task_id: str, timeout_seconds: float | None) -> Ended:
        """Wait until the task has ended or is lost; its record. Empty when the time has passed.

        Raises:
            NotSupported: the backend stores nothing.
            ServiceUnavailable: the time has passed, and the backend could not be reached at its end.
        """
        if self._direct.acquire(blocking=False):
            try:
                return wait_for_any(self._runtime, [task_id], timeout_seconds, self._poll_seconds)
            finally:
                self._direct.release()
        ended = self.submit(task_id, timeout_seconds)
        try:
            return ended.result()
        finally:
            ended.cancel()

    def submit(self, task_id: str, timeout_seconds: float | None) -> Future[Ended]:
        """The future of what `wait` gives or raises, with the record of the task. Cancel it to wait no longer."""
        now = self._runtime.clock.monotonic()
        waiting = _Wait(task_id, now, None if timeout_seconds is None else now + timeout_seconds)
        with self._changed:
            self._recent.append(waiting)
            self._start("drivetrain-wait-recent", self._wait_for_recent)
            self._changed.notify_all()
        return waiting.ended

    # Threads

    def _start(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread, unless it runs. The caller holds the lock."""
        if name not in self._threads:
            self._threads[name] = threading.Thread(target=run, name=name, daemon=True)
            self._threads[name].start()

    def _wait_for_recent(self) -> None:
        while waiting := self._next(self._take_recent):
            self._turn(waiting, _SHORT_TURN_SECONDS)
            with self._changed:
                if self._aged():
                    self._start("drivetrain-wait-older", self._wait_for_older)
                    self._changed.notify_all()

    def _wait_for_older(self) -> None:
        while waiting := self._next(self._take_older):
            self._turn(waiting, _LONG_TURN_SECONDS)
            # In real time, also with a virtual clock: this protects the service.
            threading.Event().wait(len(waiting) * _COST_SECONDS)

    def _next(self, take: Callable[[], Sequence[_Wait]]) -> Sequence[_Wait]:
        """Wait for work of this thread; the tasks of its next turn. Empty: the thread ends."""
        with self._changed:
            if not self._changed.wait_for(take, _LINGER_SECONDS):
                del self._threads[threading.current_thread().name]
            return take()

    def _take_recent(self) -> Sequence[_Wait]:
        self._recent = _open(self._recent)
        return self._recent

    def _take_older(self) -> Sequence[_Wait]:
        if aged := self._aged():
            self._recent = [one for one in self._recent if one not in aged]
        self._older = _open([*self._older, *aged])
        return self._older

    def _aged(self) -> set[_Wait]:
        """The tasks that join the long turns. The caller holds the lock."""
        since = self._runtime.clock.monotonic() - _RECENT_SECONDS
        return {one for one in self._recent if one.began <= since and not one.ended.done()}

    # One turn

    def _turn(self, waiting: Sequence[_Wait], longest_seconds: float) -> None:
        """Wait for any of these tasks, ``longest_seconds`` at most; resolve the futures of those that have ended."""
        clock = self._runtime.clock
        remaining = (
            min((one.deadline for one in waiting if one.deadline is not None), default=math.inf) - clock.monotonic()
        )
        least = min(len(waiting) * _COST_SECONDS, longest_seconds)
        seconds = max(min(longest_seconds, remaining), least)
        try:
            ended = self._ended(waiting, seconds)
        except ServiceUnavailable as error:
            self._expire(waiting, error)
            logger.warning("cannot wait for the results of %d tasks: %s; retrying", len(waiting), error)
            pause(self._runtime, polling_pause_seconds(1.0, self._poll_seconds), remaining)
        except BaseException as error:  # noqa: BLE001 - raised in the waiting callers; this thread must survive
            self._fail(waiting, error)
        else:
            found = [one for one in waiting if one.task_id in ended]
            self._resolve(found, lambda one: one.ended.set_result({one.task_id: ended[one.task_id]}))
            self._expire(waiting, None)

    def _ended(self, waiting: Sequence[_Wait], seconds: float) -> Ended:
        runtime = self._runtime
        task_ids = list(dict.fromkeys(one.task_id for one in waiting))
        ended = ended_among(runtime, task_ids, seconds)
        if not ended and not runtime.backend.capabilities.notifies:
            waited = runtime.clock.monotonic() - max(one.began for one in waiting)
            pause_seconds = polling_pause_seconds(waited, self._poll_seconds)
            pause(runtime, max(pause_seconds, len(task_ids) * _COST_SECONDS), seconds)
        # One read for all of them.
        missing = [task_id for task_id, record in ended.items() if record is None]
        records = runtime.backend.read(missing) if missing else ()
        return {**ended, **dict(zip(missing, records, strict=True))}

    def _expire(self, waiting: Sequence[_Wait], error: ServiceUnavailable | None) -> None:
        """Resolve the futures whose time has passed; with ``error``, if the backend could not be reached."""
        now = self._runtime.clock.monotonic()
        late = [one for one in waiting if one.deadline is not None and one.deadline <= now]
        if error is None:
            self._resolve(late, lambda one: one.ended.set_result({}))
        else:
            self._fail(late, error)

    def _fail(self, waiting: Sequence[_Wait], error: BaseException) -> None:
        self._resolve(waiting, lambda one: one.ended.set_exception(error))

    def _resolve(self, waiting: Sequence[_Wait], resolve: Callable[[_Wait], None]) -> None:
        with self._changed:  # both threads may have waited for the same
            for one in waiting:
                if not one.ended.done() and one.ended.set_running_or_notify_cancel():
                    resolve(one)


def _open(waiting: Sequence[_Wait]) -> list[_Wait]:
    return [one for one in waiting if not one.ended.done()]
