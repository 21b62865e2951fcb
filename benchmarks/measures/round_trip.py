"""How long one task takes when nothing else is to be done."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, working

__all__ = ["ROUND_TRIP"]

#: Before each task; of differing length, so that no task meets always the same moment of somebody's polling.
_PAUSES_SECONDS = (0.005, 0.015)
_WARM_UP = 5


def round_trip(contestant: Contestant, size: int) -> Mapping[str, float]:
    with working(contestant):
        for number in range(_WARM_UP):
            contestant.round_trip(number)
        milliseconds = [_once(contestant, number) for number in range(size)]
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def _once(contestant: Contestant, number: int) -> float:
    time.sleep(random.uniform(*_PAUSES_SECONDS))
    began = time.perf_counter()
    if contestant.round_trip(number) != 2 * number:
        raise AssertionError("a result is wrong")
    return (time.perf_counter() - began) * 1000


ROUND_TRIP = Measure(
    name="round_trip",
    explanation="From before a task is sent until its result has been read, {size} times, each after a pause of 5 to "
    "15 ms in which all is idle; the worker in another process (but for memory://).",
    metrics=(
        Metric("p50", "round trip, p50", "ms"),
        Metric("p95", "p95", "ms", compared=False),
        Metric("p99", "p99", "ms", compared=False),
    ),
    run=round_trip,
    size=500,
    quick_size=50,
)
