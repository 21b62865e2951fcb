"""The order in which a worker receives from its queues: strict, or by weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["QueueOrder"]


class QueueOrder:
    """Orders queues for each receive. Used by one thread.

    Without weights the order is strict: later queues are served while earlier ones are empty. With weights each receive
    begins with another queue (smooth weighted round robin). Of the receives, a queue of weight 5 begins five times as
    many as one of weight 1; the rest of a receive comes from the other queues. So no queue starves.

    Args:
        weights: the weight of each queue, 1 or more; empty: the order is strict. Queues without one have the weight 1.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        self._credits: dict[str, int] = {}

    def order(self, queues: Sequence[str]) -> Sequence[str]:
        """The queues for the next receive; the first one is served first."""
        if not self._weights or len(queues) < 2:
            return queues
        credit = {queue: self._credits.get(queue, 0) + self._weights.get(queue, 1) for queue in queues}
        ordered = sorted(queues, key=lambda queue: -credit[queue])
        credit[ordered[0]] -= sum(self._weights.get(queue, 1) for queue in queues)
        self._credits = credit
        return tuple(ordered)
