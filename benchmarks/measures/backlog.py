"""How fast a worker is when a great many other tasks lie in the queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contestants.base import Contestant
from measures.base import Measure, Metric, check, when_stored, working

__all__ = ["DELAYED", "WAITING"]

_OTHERS = 1_000_000
_AT_A_TIME = 10_000
#: Who sends slowly has fewer others; how many is told.
_LONGEST_SECONDS = 120.0
_A_DAY_SECONDS = 86_400.0


def waiting(contestant: Contestant, size: int) -> Mapping[str, float]:
    return _compare(contestant, size, lambda numbers: contestant.send_many("double", numbers), first=True)


def delayed(contestant: Contestant, size: int) -> Mapping[str, float]:
    due = time.time() + _A_DAY_SECONDS
    return _compare(contestant, size, lambda numbers: contestant.send_many_at(due, "double", numbers), first=False)


def _compare(
    contestant: Contestant, size: int, send_others: Callable[[Sequence[int]], Sequence[Any]], *, first: bool
) -> Mapping[str, float]:
    """The rate with nothing else, then with others: sent behind those that are measured (``first``) or before them."""
    alone = _rate(contestant, contestant.send_many("double", range(size)))
    handles = contestant.send_many("double", range(size)) if first else []
    others = _fill(send_others)
    beside = _rate(contestant, handles or contestant.send_many("double", range(size)))
    return {"ratio": beside / alone, "rate": beside, "others": others}


def _fill(send: Callable[[Sequence[int]], Sequence[Any]]) -> int:
    began, sent = time.monotonic(), 0
    while sent < _OTHERS and time.monotonic() - began < _LONGEST_SECONDS:
        send(range(sent, sent + _AT_A_TIME))
        sent += _AT_A_TIME
    return sent


def _rate(contestant: Contestant, handles: Sequence[Any]) -> float:
    with working(contestant):
        began = when_stored(contestant, handles[:1], time.perf_counter)
        seconds = when_stored(contestant, handles, time.perf_counter) - began
    check(contestant, handles, range(len(handles)))
    return (len(handles) - 1) / seconds


_METRICS = (
    Metric("ratio", "rate, to that with nothing else", "", more_is_better=True, compared=False),
    Metric("rate", "drain", "tasks/s", more_is_better=True, compared=False),
    Metric("others", "others", "tasks", compared=False),
)

WAITING = Measure(
    name="waiting",
    explanation="About {size} tasks are drained as above; then again with 1,000,000 others waiting behind them, or as "
    "many as can be sent in two minutes.",
    metrics=_METRICS,
    run=waiting,
    size=10_000,
    shared=True,
    rounds=1,
)

DELAYED = Measure(
    name="delayed",
    explanation="About {size} tasks are drained as above; then again with 1,000,000 others that are due tomorrow, or "
    "as many as can be sent in two minutes.",
    metrics=_METRICS,
    run=delayed,
    size=10_000,
    shared=True,
    rounds=1,
)
