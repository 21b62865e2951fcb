"""Runs what may block in a few threads of the dashboard's own, so that the event loop never waits for a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ["MOST_THREADS", "in_thread"]

R = TypeVar("R")

#: How many readings and actions go on at once. An application that mounts the dashboard keeps its own threads.
MOST_THREADS = 8

_limiter: RunVar[CapacityLimiter] = RunVar("drivetrain_dashboard_threads")


async def in_thread(function: Callable[[], R]) -> R:
    """Call a function in a thread; its result. It runs to its end, also if the request is cancelled."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MOST_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, limiter=limiter)
