"""The clock of the backend, read from a versioned value: workers whose own clocks differ agree on it."""

from __future__ import annotations

import json

from attrs import frozen

from drivetrain.contract import ValueWrite, VersionedValue, VersionedValues

__all__ = ["CLOCK_KEY", "StoreTime", "start_clock", "store_time"]

#: The value that is the clock. It ends after a known time, and the backend tells how much of that time remains.
CLOCK_KEY = "limits/clock"
#: When it ends, in seconds. Then another clock starts, and limits begin as if they were unused.
_SECONDS = 300 * 86400.0


@frozen
class StoreTime:
    """A time of the backend's clock.

    Attributes:
        clock: which clock it is; times of two clocks cannot be compared.
        seconds: the seconds since that clock was started.
    """

    clock: int
    seconds: float


def store_time(stored: VersionedValue | None) -> StoreTime | None:
    """The time when the value of `CLOCK_KEY` was read; None: no clock was started."""
    if stored is None or stored.expires_in_seconds is None:
        return None
    return StoreTime(stored.version, json.loads(stored.value) - stored.expires_in_seconds)


def start_clock(backend: VersionedValues) -> StoreTime:
    """Start the clock, unless another worker does so first; the time.

    Raises:
        ServiceError: the backend could not be reached.
    """
    value = json.dumps(_SECONDS).encode()
    write = ValueWrite(key=CLOCK_KEY, value=value, if_version=0, expires_in_seconds=_SECONDS)
    (outcome,) = backend.write_values([write])
    return store_time(outcome.current) or StoreTime(0, 0.0)
