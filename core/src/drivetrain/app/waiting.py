"""Waiting for tasks to end: the backend notifies where it can, and is polled with back-off where it cannot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from drivetrain.app.lost_results import lost_tasks
from drivetrain.contract import Durability, NotSupported, ServiceUnavailable, TaskRecord
from drivetrain.worker.runtime import Runtime

__all__ = ["Ended", "ended_among", "pause", "polling_pause_seconds", "wait_for_any"]

logger = logging.getLogger("drivetrain")

#: The tasks that have ended or are lost, by id. The value is the record, if it has been read already.
Ended: TypeAlias = Mapping[str, TaskRecord | None]

#: The longest that one call to the backend waits, in seconds.
_LONGEST_WAIT_SECONDS = 60.0
#: The same for a cache, in seconds: between these calls the caller checks whether the cache has dropped something.
_LONGEST_WAIT_OF_A_CACHE_SECONDS = 5.0
#: The pause before a poll, as a share of the time waited so far: polling lengthens no wait by more than this share.
_SHARE_OF_WAITED = 0.1
_SHORTEST_PAUSE_SECONDS = 0.002


def wait_for_any(
    runtime: Runtime, task_ids: Sequence[str], timeout_seconds: float | None, poll_seconds: float
) -> Ended:
    """Wait for any of ``task_ids`` to end or to be lost; those that have. Empty when the time has passed.

    Raises:
        NotSupported: the backend stores nothing.
        ServiceUnavailable: the time has passed, and the backend could not be reached at its end.
    """
    clock = runtime.clock
    began = clock.monotonic()
    while True:
        now = clock.monotonic()
        waited = now - began
        # From the deadline, as the backend counts: a rest that is too small to be added to the time must be none.
        remaining = None if timeout_seconds is None else began + timeout_seconds - now
        try:
            if ended := ended_among(runtime, task_ids, remaining):
                return ended
        except ServiceUnavailable as error:
            if remaining is not None and remaining <= 0:
                raise
            logger.warning("cannot wait for results: %s; retrying", error)
            pause(runtime, polling_pause_seconds(waited + 1.0, poll_seconds), remaining)
        if remaining is not None and remaining <= 0:
            return {}
        if not runtime.backend.capabilities.notifies:
            pause(runtime, polling_pause_seconds(waited, poll_seconds), remaining)


def ended_among(runtime: Runtime, task_ids: Sequence[str], longest_seconds: float | None) -> Ended:
    """Those of ``task_ids`` that have ended or are lost. A backend that notifies waits until there is one.

    Args:
        runtime: the drivers of the app.
        task_ids: the tasks.
        longest_seconds: how long the backend may wait until one has ended; None: a minute at most.

    Raises:
        NotSupported: the backend stores nothing.
        ServiceUnavailable: it cannot be reached.
    """
    capabilities = runtime.backend.capabilities
    if not capabilities.stores:
        raise NotSupported("this app's backend stores no results, so there is nothing to wait for; configure a backend")
    forgets = capabilities.durability is Durability.CACHE
    if capabilities.notifies:
        longest = _LONGEST_WAIT_OF_A_CACHE_SECONDS if forgets else _LONGEST_WAIT_SECONDS
        longest = longest if longest_seconds is None else max(0.0, min(longest_seconds, longest))
        ended = runtime.backend.wait(task_ids, timeout_seconds=longest)
        if ended or not forgets:
            return ended
    records = runtime.backend.read(task_ids)
    found = {
        task_id: record
        for task_id, record in zip(task_ids, records, strict=True)
        if record is None or record.state.terminal
    }
    return found or dict.fromkeys(lost_tasks(runtime, [record for record in records if record is not None]))


def polling_pause_seconds(waited_seconds: float, poll_seconds: float) -> float:
    """How long to pause before the next poll, in seconds, after a wait of ``waited_seconds``."""
    return min(max(waited_seconds * _SHARE_OF_WAITED, _SHORTEST_PAUSE_SECONDS), poll_seconds)


def pause(runtime: Runtime, seconds: float, remaining_seconds: float | None) -> None:
    """Pause for ``seconds``, but for no longer than ``remaining_seconds``; None: without a limit."""
    limited = seconds if remaining_seconds is None else max(0.0, min(seconds, remaining_seconds))
    runtime.clock.wait_event(threading.Event(), limited)
