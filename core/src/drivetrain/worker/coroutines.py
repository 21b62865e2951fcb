"""Running coroutines to their end, within a time limit."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from drivetrain.worker.context import TaskTimeout
from drivetrain.worker.deadlines import STRIKE_AGAIN_SECONDS

if TYPE_CHECKING:
    import asyncio  # seven megabytes, which an app without coroutines need not pay

__all__ = ["run_to_end", "within"]


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


def run_to_end(coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None) -> Any:
    """The result of a coroutine, which runs in this thread on an event loop of its own.

    Raises:
        TaskTimeout: it took longer than ``timeout_seconds`` (None: as long as it takes).
    """
    import asyncio

    return asyncio.run(coroutine if timeout_seconds is None else within(timeout_seconds, coroutine))


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
