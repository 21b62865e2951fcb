"""What a measure is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from contestants.base import Contestant

__all__ = ["Measure", "Metric", "check", "wait_until_done", "working"]

_LOOK_SECONDS = 0.002
_LONGEST_SECONDS = 1800.0


@frozen
class Metric:
    """One number that a measure gives."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    #: Whether its ratio to another's means something.
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
    quick_size: int
    #: How often at most, for what hardly differs from time to time.
    rounds: int = 100


@contextmanager
def working(contestant: Contestant) -> Iterator[None]:
    """A worker that works meanwhile."""
    contestant.start_worker()
    try:
        yield
    finally:
        contestant.stop_worker()


def wait_until_done(contestant: Contestant, handles: Sequence[Any]) -> None:
    """Wait until every result can be read."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not contestant.all_done(handles):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all tasks have ended after {_LONGEST_SECONDS:g} seconds")
        time.sleep(_LOOK_SECONDS)


def check(contestant: Contestant, handles: Sequence[Any], numbers: Sequence[int]) -> None:
    """Read all results back; each must be there, and right."""
    found = list(contestant.results(handles))
    if found != [2 * number for number in numbers]:
        raise AssertionError("results are wrong or missing")
