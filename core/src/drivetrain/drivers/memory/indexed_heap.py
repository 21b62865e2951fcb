"""A heap from which any value can be removed by its key."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

__all__ = ["IndexedHeap"]

# Constrained, not bound: the keys of one heap must compare with each other.
K = TypeVar("K", tuple[float, int], tuple[float, str])
V = TypeVar("V")

#: How many keys of removed values the heap may hold before it is rebuilt, in addition to one for each value.
_SLACK = 64


class IndexedHeap(Generic[K, V]):
    """Values by distinct keys; the smallest key comes first. Not thread-safe.

    `put`, `take` and `pop` are O(log n), amortised. `take` leaves its key in the heap, where it is skipped later: to
    find it there would be O(n).
    """

    def __init__(self) -> None:
        self._heap: list[K] = []
        self._values: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> Collection[V]:
        """All values, in no order."""
        return self._values.values()

    def put(self, key: K, value: V) -> None:
        """Add a value. ``key`` must not be in the heap."""
        heapq.heappush(self._heap, key)
        self._values[key] = value

    def take(self, key: K) -> V | None:
        """Remove and return the value of ``key``; None if there is none."""
        value = self._values.pop(key, None)
        if len(self._heap) > 2 * len(self._values) + _SLACK:
            self._heap = sorted(self._values)  # a sorted list is a heap
        return value

    def first_key(self) -> K | None:
        """The smallest key; None if there is no value."""
        while self._heap:
            if self._heap[0] in self._values:
                return self._heap[0]
            heapq.heappop(self._heap)
        return None

    def pop(self) -> V:
        """Remove and return the value of the smallest key. There must be one."""
        while (key := heapq.heappop(self._heap)) not in self._values:
            continue
        return self._values.pop(key)

    def pop_until(self, limit: float) -> Iterator[V]:
        """Remove and return, in order, the values whose keys begin with ``limit`` or less."""
        while (key := self.first_key()) is not None and key[0] <= limit:
            yield self.pop()

    def smallest(self, count: int) -> list[V]:
        """The values of the ``count`` smallest keys, in order. Removes nothing; O(n)."""
        return [self._values[key] for key in heapq.nsmallest(count, self._values)]

    def clear(self) -> list[V]:
        """Remove and return all values, in no order."""
        values = list(self._values.values())
        self._heap.clear()
        self._values.clear()
        return values
