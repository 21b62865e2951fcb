"""How long a group with a callback takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, working

__all__ = ["CHORDS"]


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


def _chord(name: str, size: int, quick_size: int | None = None, rounds: int = 100) -> Measure:
    return Measure(
        name=name,
        explanation="{size} members and a callback that takes all their results: from before it is sent, with a worker "
        "waiting, until the callback's result has been read and checked.",
        metrics=(Metric("seconds", f"chord of {size:,}", "s"),),
        run=chord,
        size=size,
        quick_size=quick_size,
        rounds=rounds,
    )


CHORDS = (
    _chord("chord_1000", 1_000, quick_size=1_000),
    _chord("chord_10000", 10_000),
    _chord("group_100000", 100_000, rounds=1),
)
