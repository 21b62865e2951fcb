"""Waiting for tasks to end: told by the backend where it can, polled with back-off where it cannot."""

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

#: The tasks that have ended or are gone, by id; with each its record, if it has ended and that is at hand.
Ended: TypeAlias = Mapping[str, TaskRecord | None]

#: The longest that one call to the backend waits, in seconds.
_LONGEST_WAIT_SECONDS = 60.0
#: And of one that does not tell what it has dropped: who waits looks for that himself.
_LONGEST_WAIT_OF_A_CACHE_SECONDS = 5.0
#: A poll comes after this share of the time already waited, so that polling adds no more than that to any wait.
_SHARE_OF_WAITED = 0.1
_SHORTEST_PAUSE_SECONDS = 0.002


def wait_for_any(
    runtime: Runtime, task_ids: Sequence[str], timeout_seconds: float | None, poll_seconds: float
) -> Ended:
    """Those of ``task_ids`` that have ended or are gone, as soon as there is one; none when the time is out.

    Raises:
        NotSupported: the backend keeps nothing.
        ServiceUnavailable: the time is out, and the backend could not be reached at the end of it.
    """
    clock = runtime.clock
    began = clock.monotonic()
    while True:
        waited = clock.monotonic() - began
        remaining = None if timeout_seconds is None else timeout_seconds - waited
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
    """Those of ``task_ids`` that have ended or are gone; a backend that can push is waited for.

    Args:
        runtime: whose backend.
        task_ids: what to look for.
        longest_seconds: how long the backend may wait until there is one; None: for as long as it makes sense.

    Raises:
        NotSupported: the backend keeps nothing.
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
    """How long to pause before the backend is asked again, after so long a wait."""
    return min(max(waited_seconds * _SHARE_OF_WAITED, _SHORTEST_PAUSE_SECONDS), poll_seconds)


def pause(runtime: Runtime, seconds: float, remaining_seconds: float | None) -> None:
    """Pause, but for no longer than is left of a time limit; None: there is no limit."""
    limited = seconds if remaining_seconds is None else max(0.0, min(seconds, remaining_seconds))
    runtime.clock.wait_event(threading.Event(), limited)
