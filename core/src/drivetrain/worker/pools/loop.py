"""The loop pool: runs ``async def`` tasks on one event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from drivetrain.worker.coroutines import within, within_soft
from drivetrain.worker.deadlines import STRIKE_AGAIN_SECONDS
from drivetrain.worker.execution import Execution, RunRefused
from drivetrain.worker.forked import await_in_one_process
from drivetrain.worker.logs import get_logger
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.threads import Threads

__all__ = ["LoopPool"]

logger = get_logger("drivetrain.worker")

#: How long coroutines may take to end when the pool stops and cancels them, in seconds.
_LAST_SECONDS = 2.0
#: How often they are cancelled in that time: an error of one of them may interrupt an attempt.
_LAST_TRIES = 4


class LoopPool:
    """An event loop in its own thread, which runs up to a fixed number of tasks at once."""

    def __init__(
        self,
        size: int,
        execution: Execution,
        done: Callable[[RunResult], None],
        threads: Threads,
        *,
        again_seconds: float = STRIKE_AGAIN_SECONDS,
    ) -> None:
        """Start it.

        Args:
            size: how many tasks run at once.
            execution: runs them.
            done: called with each result.
            threads: starts the thread of the loop.
            again_seconds: how often a task is cancelled that continues after its time limit, in seconds.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        self._size = size
        self._execution = execution
        self._done = done
        self._again_seconds = again_seconds
        self._waiting: deque[Run] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending = threading.Event()
        self._loop = asyncio.new_event_loop()
        try:
            self._thread = threads.start("drivetrain-loop", self._work)
        except RuntimeError:
            self._loop.close()
            raise

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
        self._soon(self._cancel, run.id)

    def stop(self) -> None:
        """See `RunPool.stop`."""
        self._ending.set()
        self._soon(self._loop.stop)
        self._thread.join(timeout=2 * _LAST_SECONDS)

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so there is nothing to stop
            self._loop.call_soon_threadsafe(function, *args)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while not self._ending.is_set():
                self._run_loop()
            self._end_all()
        finally:
            self._loop.close()

    def _run_loop(self) -> None:
        """Run the loop until something stops it: the pool, or a task."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # asyncio raises these from any callback and any asyncio task. The awaiting code of that task gets them too.
            logger.exception("a coroutine has raised an error through the event loop; the loop continues")

    def _end_all(self) -> None:
        for _ in range(_LAST_TRIES):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            with suppress(SystemExit, KeyboardInterrupt):
                if tasks:
                    last = asyncio.wait(tasks, timeout=_LAST_SECONDS / _LAST_TRIES)
                    self._loop.run_until_complete(last)
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                if not asyncio.all_tasks(self._loop):
                    return

    def _cancel(self, run_id: str) -> None:
        if (task := self._running.get(run_id)) is not None:
            task.cancel()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._size:
            try:
                run = self._waiting.popleft()
            except IndexError:  # `take_back` was faster
                return
            self._begin(run)

    def _begin(self, run: Run) -> None:
        results: list[RunResult] = []
        work = self._run(run, results)
        try:
            task = self._loop.create_task(work, context=self._execution.fresh_context())
        except Exception as error:  # noqa: BLE001 - a task may have set a task factory that raises anything
            work.close()
            self._done(self._execution.failed(run, error))
            return
        self._running[run.id] = task
        task.add_done_callback(partial(self._ended, run, results))

    def _ended(self, run: Run, results: Sequence[RunResult], _task: asyncio.Task[None]) -> None:
        del self._running[run.id]
        self._fill()
        if self._ending.is_set():
            return  # the worker stops, and has released its runs already
        # A task that is cancelled before its first step has no result.
        self._done(results[0] if results else self._execution.failed(run, RunRefused()))

    async def _run(self, run: Run, results: list[RunResult]) -> None:
        # Stored in a list, not returned: an asyncio task that cancels itself in its last step returns nothing.
        call = run.invocation.call
        try:
            args, kwargs = self._execution.begin(run)
            with self._execution.around(run):
                work = await_in_one_process(run.definition.function(*args, **kwargs))
                if call.soft_timeout is not None:
                    work = within_soft(call.soft_timeout, work)
                if call.timeout is not None:
                    work = within(call.timeout, work, again_seconds=self._again_seconds)
                value = await work
        except BaseException as error:  # noqa: BLE001 - any error of a task ends only this task
            results.append(self._execution.failed(run, error))
        else:
            results.append(self._execution.returned(run, value))
