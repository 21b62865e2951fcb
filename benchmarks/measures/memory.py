"""What a worker's memory does while it works on and on."""

from __future__ import annotations

from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, check, wait_until_done, working

__all__ = ["MEMORY"]


def memory(contestant: Contestant, size: int) -> Mapping[str, float]:
    first, rest = range(size // 10), range(size - size // 10)
    handles = list(contestant.send_many(first))
    with working(contestant):
        wait_until_done(contestant, handles)
        early = contestant.worker_rss()
        handles += contestant.send_many(rest)
        wait_until_done(contestant, handles)
        late = contestant.worker_rss()
        check(contestant, handles, [*first, *rest])
    return {"early": early, "late": late, "growth": late - early}


MEMORY = Measure(
    name="memory",
    explanation="The resident memory of one worker process after a tenth of {size} tasks, and after {size}. "
    "All results are read back and checked.",
    metrics=(
        Metric("early", "memory after a tenth", "MB"),
        Metric("late", "memory after all", "MB"),
        Metric("growth", "growth between", "MB", compared=False),
    ),
    run=memory,
    size=100_000,
    quick_size=10_000,
    rounds=1,
)
