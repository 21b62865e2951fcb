"""How long a group with a callback takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, working

__all__ = ["CHORD"]


def chord(contestant: Contestant, size: int) -> Mapping[str, float]:
    numbers = range(size)
    with working(contestant):
        contestant.round_trip(1)
        began = time.perf_counter()
        result = contestant.chord(numbers)
        seconds = time.perf_counter() - began
    if result != 2 * sum(numbers):
        raise AssertionError("the result is wrong")
    return {"seconds": seconds}


CHORD = Measure(
    name="chord",
    explanation="{size} members and a callback that takes all their results: from before it is sent, with a worker "
    "waiting, until the callback's result has been read and checked.",
    metrics=(Metric("seconds", "chord", "s"),),
    run=chord,
    size=10_000,
    quick_size=2_000,
)
