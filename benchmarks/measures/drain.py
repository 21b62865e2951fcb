"""How fast a worker works off a full queue."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, check, wait_until_done, working

__all__ = ["DRAIN"]


def drain(contestant: Contestant, size: int) -> Mapping[str, float]:
    numbers = range(size)
    handles = contestant.send_many(numbers)
    with working(contestant):
        began = time.perf_counter()
        wait_until_done(contestant, handles)
        seconds = time.perf_counter() - began
        check(contestant, handles, numbers)
    return {"rate": size / seconds}


DRAIN = Measure(
    name="drain",
    explanation="{size} tasks wait; one worker process, from when it is ready until the last result can be read. "
    "Then all results are read back and checked.",
    metrics=(Metric("rate", "drain with results", "tasks/s", more_is_better=True),),
    run=drain,
    size=20_000,
    quick_size=4_000,
)
