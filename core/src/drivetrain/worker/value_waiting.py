"""Waiting until a versioned value changes: the backend notifies where it can, and is polled where it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from drivetrain.contract import Backend, Clock, changed_values

__all__ = ["wait_for_values"]

#: The longest that one call to the backend waits, in seconds, where the caller may stop the wait by its event.
_LONGEST_CALL_SECONDS = 2.0
#: The pause before a poll, as a share of the time waited so far, and its limits, in seconds.
_SHARE_OF_WAITED = 0.1
_SHORTEST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.5


def wait_for_values(
    backend: Backend,
    clock: Clock,
    seen: Mapping[str, int],
    *,
    prefix: str | None = None,
    timeout_seconds: float,
    end: threading.Event | None = None,
    poll_seconds: float = _LONGEST_PAUSE_SECONDS,
) -> Sequence[str]:
    """Wait until a value has another version than the caller has seen; see `VersionedValues.wait_values`.

    An expired value counts as removed. The caller reads the values afterwards, since they may change further.

    Args:
        backend: where the values are stored.
        clock: the clock by which time is counted.
        seen: versions by key; 0: nothing was stored.
        prefix: waits for all keys that start with it too; those that are not in ``seen`` were not stored. None: none.
        timeout_seconds: how long to wait, at most.
        end: ends the wait when it is set, up to two seconds later where the backend notifies.
        poll_seconds: the longest pause between two polls of a backend that does not notify, in seconds.

    Returns:
        Keys that have another version, at least one of them; none after the time-out and after ``end``. At once and
        empty if there is neither a key nor a prefix.

    Raises:
        ServiceError: the backend could not be reached.
    """
    if not seen and prefix is None:
        return ()
    end = end or threading.Event()
    deadline = clock.monotonic() + timeout_seconds
    if backend.capabilities.notifies:
        return _wait(
            lambda seconds: backend.wait_values(seen, prefix=prefix, timeout_seconds=seconds), clock, deadline, end
        )
    return _poll(lambda: changed_values(backend, seen, prefix).keys, clock, deadline, end, poll_seconds)


def _wait(call: Callable[[float], Sequence[str]], clock: Clock, deadline: float, end: threading.Event) -> Sequence[str]:
    while True:
        remaining = max(0.0, deadline - clock.monotonic())
        seconds = min(remaining, _LONGEST_CALL_SECONDS)
        changed = call(seconds)
        if changed or seconds == remaining or end.is_set():
            return changed


def _poll(
    look: Callable[[], Sequence[str]], clock: Clock, deadline: float, end: threading.Event, poll_seconds: float
) -> Sequence[str]:
    began = clock.monotonic()
    while True:
        now = clock.monotonic()
        changed = look()
        if changed or now >= deadline or end.is_set():
            return changed
        pause = max(_SHORTEST_PAUSE_SECONDS, (now - began) * _SHARE_OF_WAITED)
        clock.wait_event(end, min(pause, poll_seconds, deadline - now))
