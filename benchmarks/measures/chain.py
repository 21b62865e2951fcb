"""How long a chain takes, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, working

__all__ = ["CHAIN"]


def chain(contestant: Contestant, size: int) -> Mapping[str, float]:
    with working(contestant) as workers:
        contestant.round_trip(1)
        began, cpu = time.perf_counter(), workers.cpu()
        result = contestant.chain(size)
        seconds, cpu = time.perf_counter() - began, workers.cpu() - cpu
    if result != 0:
        raise AssertionError("the result is wrong")
    return {"step": seconds / size * 1000, "workers": cpu / size * 1000}


CHAIN = Measure(
    name="chain_1000",
    explanation="A chain of {size} tasks: from before it is sent, with a worker waiting, until the last result has "
    "been read, for each step.",
    metrics=(
        Metric("step", "a step of a chain", "ms"),
        Metric("workers", "CPU, workers", "ms a step", compared=False),
    ),
    run=chain,
    size=1_000,
)
