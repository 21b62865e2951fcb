"""What a measure is, and what measures share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import frozen

from contestants.base import Contestant
from processes import Workers

__all__ = ["Measure", "Metric", "check", "wait_until_stored", "when_stored", "working"]

T = TypeVar("T")

#: How often results are looked for: at least so often, but for no more than this part of what has been waited so far.
_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS, _LOOK_PART = 0.002, 0.05, 0.005
_LONGEST_SECONDS = 1800.0
_AT_A_TIME = 200


@frozen
class Metric:
    """One number that a measure gives."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    #: Whether its ratios to others' are told, and it is drawn.
    compared: bool = True


@frozen(kw_only=True)
class Measure:
    """How something is measured, in one process, for one contestant, with so many tasks."""

    name: str
    #: What is measured and how, for the report; ``{size}`` is the number of tasks.
    explanation: str
    metrics: tuple[Metric, ...]
    run: Callable[[Contestant, int], Mapping[str, float]]
    size: int
    #: None: not in a quick run, unless asked for by name; then with as many as in a full one.
    quick_size: int | None = None
    #: Whether a contestant's share applies to the number of tasks.
    shared: bool = False
    #: How many worker processes there are.
    processes: int = 1
    #: How often at most, for what hardly differs from time to time, or takes long.
    rounds: int = 100


@contextmanager
def working(contestant: Contestant) -> Iterator[Workers]:
    """Workers that work meanwhile."""
    workers = contestant.start_workers()
    try:
        yield workers
    finally:
        workers.stop()


def wait_until_stored(contestant: Contestant, handles: Sequence[Any]) -> None:
    """Wait until every one of these results can be read."""
    when_stored(contestant, handles, time.perf_counter)


def when_stored(contestant: Contestant, handles: Sequence[Any], look: Callable[[], T]) -> T:
    """Wait until every one of these results can be read; what ``look`` gives at that moment.

    To ask for all of them costs time that is not the contestant's. So the last one is waited for alone; then all are
    asked for from the end, where the missing ones are, and the moment is the one after which none was missing.
    """
    began = time.monotonic()
    chunks = [handles[max(end - _AT_A_TIME, 0) : end] for end in range(len(handles), 0, -_AT_A_TIME)]
    seen: list[T] = []
    for asked in (handles[-1:], *chunks):
        was_missing = not seen
        while contestant.stored(asked) < len(asked):
            was_missing = True
            _pause(time.monotonic() - began)
        if was_missing:
            seen = [look()]
    return seen[0]


def _pause(waited: float) -> None:
    if waited > _LONGEST_SECONDS:
        raise TimeoutError(f"not all tasks have ended after {_LONGEST_SECONDS:g} seconds")
    time.sleep(min(max(waited * _LOOK_PART, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS))


def check(contestant: Contestant, handles: Sequence[Any], numbers: Sequence[int]) -> None:
    """Read the results of ``double`` back; each must be there, and right."""
    found = list(contestant.results(handles))
    if found != [2 * number for number in numbers]:
        raise AssertionError("results are wrong or missing")
