"""GCRA, the generic cell rate algorithm: when the next calls of a rate limit may start. Pure.

One number is the whole state: the time at which all that has started or is reserved will be paid for. Each call moves
it by ``cost * interval``. A call may start when it is at most ``burst * interval`` ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.worker.limits.specs import RateSetting

__all__ = ["reserve"]


def reserve(paid_at: float, setting: RateSetting, costs: Sequence[float], now: float) -> tuple[float, Sequence[float]]:
    """Reserve an instant for each call, in order.

    Args:
        paid_at: the state: when all earlier calls are paid for; in seconds.
        setting: the numbers of the limit.
        costs: the cost of each call.
        now: the present, on the same clock.

    Returns:
        The state afterwards, and for each call the number of seconds to wait; 0: it starts now.
    """
    waits = []
    paid_at = max(paid_at, now)
    for cost in costs:
        paid_at += cost * setting.interval
        waits.append(max(0.0, paid_at - setting.burst * setting.interval - now))
    return paid_at, waits
