"""A queue that is received from: what came of it, and how it is asked."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import count

from attrs import define, field

from drivetrain_sqs.names import Role
from drivetrain_sqs.queues import SqsQueue
from drivetrain_sqs.receipts import Receipt

__all__ = ["Source"]

_numbers = count()


@define(eq=False)
class Source:
    """One queue. All but `calls` is used with the receiver's condition held."""

    queue: str
    role: Role
    where: SqsQueue
    #: Whether a long poll waits.
    polling: bool = False
    #: When a long poll last came back empty, in monotonic seconds.
    empty_at: float = -math.inf
    #: How many receive calls at once it is worth.
    calls: int = 1
    #: What a long poll has failed with.
    error: Exception | None = None
    #: What came and was not handed out, by (due time, order of coming).
    _waiting: list[tuple[float, int, Receipt]] = field(factory=list)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Keep these until they are due and asked for."""
        for receipt in receipts:
            heapq.heappush(self._waiting, (receipt.due, next(_numbers), receipt))

    def next_due(self) -> float:
        """When the first is due, in Unix seconds."""
        return self._waiting[0][0] if self._waiting else math.inf

    def is_due(self, now: float) -> bool:
        """Whether any is."""
        return self.next_due() <= now

    def take_due(self, now: float, limit: int) -> list[Receipt]:
        """Up to ``limit`` that are due, the earliest first."""
        taken: list[Receipt] = []
        while len(taken) < limit and self.is_due(now):
            taken.append(heapq.heappop(self._waiting)[2])
        return taken

    def take_beyond(self, number: int) -> list[Receipt]:
        """All but the ``number`` that are due first."""
        entries = sorted(self._waiting, key=lambda entry: entry[:2])
        self._waiting = entries[:number]  # in order, which is a heap
        return [receipt for _, _, receipt in entries[number:]]

    def take_all(self) -> list[Receipt]:
        """All, due or not."""
        taken = [receipt for _, _, receipt in sorted(self._waiting, key=lambda entry: entry[:2])]
        self._waiting.clear()
        return taken
