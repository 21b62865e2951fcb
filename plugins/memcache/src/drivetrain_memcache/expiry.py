"""When Memcached may drop an item. Pure.

An item that ends carries its own end in milliseconds, which decides; Memcached, which counts in seconds by a clock that
ticks once a second, only clears away afterwards. It must never be early.
"""

from __future__ import annotations

import math

__all__ = ["AT_ONCE", "NEVER", "exptime"]

NEVER = 0
#: Memcached takes this for a time that is over.
AT_ONCE = -1

#: Up to 30 days Memcached takes a number for seconds from now, beyond for Unix seconds.
_LONGEST_RELATIVE = 30 * 86_400
#: It reads a signed number of 32 bits.
_LATEST = 2**31 - 1
#: Its clock may be a second behind its last tick, and a fraction of a second is a whole one.
_MARGIN_SECONDS = 2


def exptime(ends_at: float | None, now: float, margin: int = _MARGIN_SECONDS) -> int:
    """What to tell Memcached of an item that ends at ``ends_at`` (Unix seconds; None: never).

    It may drop it ``margin`` seconds after that.
    """
    if ends_at is None:
        return NEVER
    if ends_at <= now:
        return AT_ONCE
    if ends_at >= _LATEST - margin:
        return NEVER  # it cannot be told; the item's own end decides all the same
    seconds = math.ceil(ends_at - now) + margin
    return seconds if seconds <= _LONGEST_RELATIVE else math.ceil(ends_at) + margin
