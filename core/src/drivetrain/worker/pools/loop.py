"""``async def`` tasks on one event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.execution import Execution, NotOurs
from drivetrain.worker.run import Ending, Run

__all__ = ["LoopPool"]


class LoopPool:
    """An event loop in a thread of its own, with so many tasks on it at once."""

    def __init__(self, size: int, execution: Execution, done: Callable[[Ending], None]) -> None:
        self._size = size
        self._execution = execution
        self._done = done
        self._waiting: deque[Run] = deque()
        self._running: dict[str, asyncio.Task[Ending]] = {}
        self._ending = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="drivetrain-loop", daemon=True)
        self._thread.start()

    def submit(self, runs: Sequence[Run]) -> None:
        """See `RunPool.submit`."""
        self._waiting.extend(runs)
        self._loop.call_soon_threadsafe(self._fill)

    def take_back(self) -> list[Run]:
        """See `RunPool.take_back`."""
        runs: list[Run] = []
        try:
            while True:
                runs.append(self._waiting.popleft())
        except IndexError:
            return runs

    def cancel(self, run: Run) -> None:
        """Cancel its asyncio task."""
        self._loop.call_soon_threadsafe(self._cancel, run.id)

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._ending.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._end_all()
        finally:
            self._loop.close()

    def _end_all(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _cancel(self, run_id: str) -> None:
        if (task := self._running.get(run_id)) is not None:
            task.cancel()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._size:
            try:
                run = self._waiting.popleft()
            except IndexError:  # taken back meanwhile
                return
            task = self._loop.create_task(self._run(run))
            self._running[run.id] = task
            task.add_done_callback(partial(self._ended, run))

    def _ended(self, run: Run, task: asyncio.Task[Ending]) -> None:
        del self._running[run.id]
        self._fill()
        if self._ending.is_set():
            return  # the worker ends, and its runs were given back before
        # A task that is cancelled before its first step never gets to say so itself.
        self._done(self._execution.failed(run, NotOurs()) if task.cancelled() else task.result())

    async def _run(self, run: Run) -> Ending:
        try:
            args, kwargs = self._execution.begin(run)
            value = await self._within(run.invocation.call.timeout, run.definition.function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whatever a task raises ends that task only
            return self._execution.failed(run, error)
        return self._execution.returned(run, value)

    async def _within(self, timeout_seconds: float | None, work: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(timeout_seconds)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise TaskTimeout from None
            raise
