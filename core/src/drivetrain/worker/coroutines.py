"""Running coroutines to their end, within time limits."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from drivetrain.worker.context import SoftTimeout, TaskTimeout
from drivetrain.worker.deadlines import STRIKE_AGAIN_SECONDS

if TYPE_CHECKING:
    import asyncio  # seven megabytes, which an app without coroutines need not pay

__all__ = ["run_to_end", "within", "within_soft"]


async def within(seconds: float, work: Awaitable[Any], *, again_seconds: float = STRIKE_AGAIN_SECONDS) -> Any:
    """The result of ``work``, in the asyncio task of the caller.

    Args:
        seconds: its time limit; then it is cancelled.
        work: what to wait for.
        again_seconds: how often it is cancelled again while it continues, in seconds.

    Raises:
        TaskTimeout: it was cancelled at its time limit.
    """
    import asyncio

    limit = _TimeLimit(asyncio.get_running_loop(), asyncio.current_task(), seconds, again_seconds)
    try:
        return await work
    except asyncio.CancelledError:
        if limit.struck:
            raise TaskTimeout from None
        raise
    finally:
        limit.end()


async def within_soft(seconds: float, work: Awaitable[Any]) -> Any:
    """The result of ``work``, in the asyncio task of the caller.

    After ``seconds``, SoftTimeout is raised in ``work`` once, where it waits. It may catch it and go on.
    """
    return await _WithSoftLimit(seconds, work)


def run_to_end(
    coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None, soft_timeout_seconds: float | None = None
) -> Any:
    """The result of a coroutine, which runs in this thread on an event loop of its own.

    Args:
        coroutine: what runs.
        timeout_seconds: its time limit; None: none.
        soft_timeout_seconds: its soft time limit; None: none.

    Raises:
        TaskTimeout: it took longer than ``timeout_seconds``.
    """
    import asyncio

    if soft_timeout_seconds is not None:
        coroutine = within_soft(soft_timeout_seconds, coroutine)
    return asyncio.run(coroutine if timeout_seconds is None else within(timeout_seconds, coroutine))


class _WithSoftLimit:
    """Awaits something. Its limit cancels the asyncio task, and raises SoftTimeout in place of the cancellation."""

    def __init__(self, seconds: float, work: Awaitable[Any]) -> None:
        self._seconds = seconds
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._struck = False

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        self._task = asyncio.current_task()
        timer = asyncio.get_running_loop().call_later(self._seconds, self._strike)
        steps = self._work.__await__()
        error: BaseException | None = None
        try:
            while True:
                step = next(steps) if error is None else steps.throw(error)
                error = None
                try:
                    yield step
                except asyncio.CancelledError as cancelled:
                    error = SoftTimeout() if self._is_own() else cancelled
                except BaseException as other:  # noqa: BLE001 - it is raised in what waits
                    error = other
        except StopIteration as end:
            return end.value
        finally:
            timer.cancel()

    def _strike(self) -> None:
        if self._task is not None:
            self._struck = self._task.cancel()

    def _is_own(self) -> bool:
        """Whether the cancellation that has come is that of the limit, and of nothing else."""
        if not self._struck or self._task is None:
            return False
        self._struck = False
        return self._task.uncancel() == 0


class _TimeLimit:
    """Cancels an asyncio task at its time limit, and again while it continues; `asyncio.timeout` does so once only."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None, seconds: float, again_seconds: float
    ) -> None:
        self._loop = loop
        self._task = task
        self._again_seconds = again_seconds
        self._next = loop.call_later(seconds, self._strike)
        self.struck = False

    def _strike(self) -> None:
        self.struck = True
        self._next = self._loop.call_later(self._again_seconds, self._strike)
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        self._next.cancel()
