"""What a worker takes that idles, and what its memory does while it works on and on."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, check, wait_until_stored, working

__all__ = ["IDLE", "MEMORY"]

_SETTLE_SECONDS = 0.5


def idle(contestant: Contestant, size: int) -> Mapping[str, float]:
    with working(contestant) as workers:
        for number in range(size):
            contestant.round_trip(number)
        time.sleep(_SETTLE_SECONDS)
        began, took = time.perf_counter(), workers.cpu()
        time.sleep(_SETTLE_SECONDS)
        cpu = (workers.cpu() - took) / (time.perf_counter() - began)
        return {"rss": workers.rss(), "pss": workers.pss(), "cpu": cpu * 1000}


def memory(contestant: Contestant, size: int) -> Mapping[str, float]:
    first, rest = range(size // 10), range(size - size // 10)
    handles = list(contestant.send_many("double", first))
    with working(contestant) as workers:
        wait_until_stored(contestant, handles)
        early = workers.rss()
        handles += contestant.send_many("double", rest)
        wait_until_stored(contestant, handles)
        late = workers.rss()
        check(contestant, handles, [*first, *rest])
    return {"early": early, "late": late, "growth": late - early}


IDLE = Measure(
    name="idle",
    explanation="A worker that has run {size} tasks and waits: its resident memory; that "
    "with what processes share divided among them (PSS), its children's included; and the milliseconds of a processor "
    "that waiting takes per second.",
    metrics=(
        Metric("rss", "memory of an idle worker", "MB"),
        Metric("pss", "PSS", "MB", compared=False),
        Metric("cpu", "CPU", "ms/s", compared=False),
    ),
    run=idle,
    size=5,
    quick_size=5,
    rounds=3,
)

MEMORY = Measure(
    name="memory",
    explanation="The resident memory of one worker, with its children, after a tenth of {size} tasks, and after "
    "{size}. All results are read back and checked.",
    metrics=(
        Metric("late", "memory after all", "MB"),
        Metric("early", "after a tenth", "MB", compared=False),
        Metric("growth", "growth between", "MB", compared=False),
    ),
    run=memory,
    size=100_000,
    rounds=1,
)
