"""How fast tasks with large arguments go through."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from contestants.base import Contestant
from measures.base import Measure, Metric, when_stored, working

__all__ = ["PAYLOADS"]


def payload(contestant: Contestant, size: int, characters: int) -> Mapping[str, float]:
    texts = ["x" * characters] * size
    with working(contestant):
        contestant.round_trip(1)
        began = time.perf_counter()
        handles = contestant.send_many("length", texts)
        # Not the rate of a drain: so few tasks may be a single batch.
        seconds = when_stored(contestant, handles, time.perf_counter) - began
        if list(contestant.results(handles)) != [characters] * size:
            raise AssertionError("results are wrong or missing")
    return {"rate": size / seconds}


def _payload(name: str, title: str, characters: int, size: int) -> Measure:
    return Measure(
        name=name,
        explanation=f"About {{size}} tasks with an argument of {title}; the result is its length. A worker waits; from "
        "before they are sent in bulk until the last result can be read.",
        metrics=(Metric("rate", f"through, {title} each", "tasks/s", more_is_better=True),),
        run=partial(payload, characters=characters),
        size=size,
        # What is large takes as long for each.
        shared=characters < 100_000,
        rounds=3,
    )


PAYLOADS = (
    _payload("payload_1k", "1 KB", 1_000, 5_000),
    _payload("payload_100k", "100 KB", 100_000, 500),
    _payload("payload_1m", "1 MB", 1_000_000, 100),
)
