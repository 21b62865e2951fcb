"""Follows the progress of a task or workflow until it has ended."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from drivetrain.app.progress import Progress, ProgressCallback, progress_bar
from drivetrain.app.progress_reading import ProgressReader
from drivetrain.app.services import Services
from drivetrain.app.waiting import Ended
from drivetrain.contract import ServiceUnavailable

__all__ = ["ProgressChanges", "show_progress"]

logger = logging.getLogger("drivetrain")

#: How often progress is read, in seconds. Tasks report theirs once a second.
_POLL_SECONDS = 0.1


class ProgressChanges:
    """The progress of a result now, and after each change, until the result is there: ``for`` and ``async for``.

    The last one is that of the end, with success or without; get the result afterwards. While the backend is
    away the iteration waits. Each iteration starts again.

    Args:
        services: the services of the app whose backend is asked.
        task_id: the id of the result.
        timeout: after how many seconds the iteration ends all the same; None: never.

    Raises:
        UnknownResult: while iterating: the backend has no record of it.
    """

    def __init__(self, services: Services, task_id: str, timeout: float | None) -> None:
        self._services = services
        self._id = task_id
        self._timeout = timeout

    def __iter__(self) -> Iterator[Progress]:
        follower, waiter = _Follower(self._services, self._id, self._timeout), self._services.waiter
        over = False
        while True:
            changed, pause_seconds = follower.next()
            if changed is not None:
                yield changed
            if over or pause_seconds is None:
                return
            with suppress(ServiceUnavailable):
                over = bool(waiter.wait(self._id, pause_seconds))

    async def __aiter__(self) -> AsyncIterator[Progress]:
        import asyncio  # seven megabytes; an application without coroutines does not need them

        loop = asyncio.get_running_loop()
        follower, waiter = _Follower(self._services, self._id, self._timeout), self._services.waiter
        over = False
        while True:
            changed, pause_seconds = await loop.run_in_executor(self._services.readers, follower.next)
            if changed is not None:
                yield changed
            if over or pause_seconds is None:
                return
            with suppress(ServiceUnavailable):
                found: Ended = await asyncio.wrap_future(waiter.submit(self._id, pause_seconds))
                over = bool(found)


class _Follower:
    """Reads progress, and tells whether it has changed."""

    def __init__(self, services: Services, task_id: str, timeout: float | None) -> None:
        self._clock = services.runtime.clock
        self._poll_seconds = services.settings.poll_seconds
        self._reader = ProgressReader(services.runtime, task_id)
        self._id = task_id
        self._end = None if timeout is None else self._clock.monotonic() + timeout
        self._last: Progress | None = None
        self._failing = False

    def next(self) -> tuple[Progress | None, float | None]:
        """The progress, if it has changed; and how long to pause before the next call: None: this was the last one."""
        remaining = None if self._end is None else max(0.0, self._end - self._clock.monotonic())
        try:
            progress, ended = self._reader.read()
        except ServiceUnavailable as error:
            if not self._failing:
                logger.warning("cannot read the progress of %s: %s; retrying", self._id, error)
            self._failing = True
            return None, None if remaining == 0 else _within(self._poll_seconds, remaining)
        self._failing = False
        changed = self._last is None or (progress, progress.note) != (self._last, self._last.note)
        self._last = progress
        last = ended or remaining == 0
        return progress if changed else None, None if last else _within(_POLL_SECONDS, remaining)


def _within(seconds: float, remaining: float | None) -> float:
    return seconds if remaining is None else min(seconds, remaining)


def show_progress(changes: ProgressChanges, progress: ProgressCallback | bool) -> None:
    """Call a function, or move a progress bar, after each change of a result's progress, until it has ended.

    Args:
        changes: the changes.
        progress: the function; True: a progress bar.

    Raises:
        TypeError: it is neither.
        ConfigurationError: tqdm is not installed.
    """
    if progress is not True and not callable(progress):
        raise TypeError(f"progress is {progress!r}; use a function of (done, total), or True")
    report = None if progress is True else progress
    for change in changes:
        report = report or progress_bar(change.total)
        report(change.done, change.total)
