"""How long a message that this worker cannot run is offered to other workers. Pure.

While a new version is rolled out, a message may come from a sender whose code differs from the worker's: its task is
not known here, or its arguments do not fit. Another worker of the queue may have the version that it needs.
"""

from __future__ import annotations

__all__ = ["next_offer_seconds"]

#: The delay before the first offer, the factor by which delays grow, and the longest one, in seconds. They grow slowly,
#: since chance decides whether the next worker that receives the message can run it.
_FIRST_SECONDS, _GROWTH, _LONGEST_SECONDS = 0.1, 1.25, 10.0


def next_offer_seconds(offers: int, limit_seconds: float) -> float | None:
    """The delay before the next offer of the message, in seconds; None: it is not offered any more.

    Args:
        offers: how many times it was offered to other workers before.
        limit_seconds: how long it is offered in total, in seconds; the last offer is made at that time.
    """
    offered_seconds = 0.0
    for number in range(offers):
        if offered_seconds >= limit_seconds:
            return None
        offered_seconds += _delay_seconds(number)
    remaining_seconds = limit_seconds - offered_seconds
    return min(_delay_seconds(offers), remaining_seconds) if remaining_seconds > 0 else None


def _delay_seconds(number: int) -> float:
    # From 21 on it is the longest; a larger power would overflow.
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * _GROWTH ** min(number, 50))
