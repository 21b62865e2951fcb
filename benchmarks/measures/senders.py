"""How fast many senders of one process send at once: coroutines of one event loop, or threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from contestants.base import Contestant
from measures.base import Measure, Metric

__all__ = ["COROUTINES", "THREADS"]

_AT_ONCE = (100, 1_000)
_THREADS = (1, 8, 32)


def coroutines(contestant: Contestant, size: int) -> Mapping[str, float]:
    contestant.send("double", 0)  # connects
    found = {}
    for at_once in _AT_ONCE:
        contestant.send_at_once("double", range(at_once), at_once)
        began = time.perf_counter()
        contestant.send_at_once("double", range(size), at_once)
        found[f"coroutines_{at_once}"] = size / (time.perf_counter() - began)
    return found


def threads(contestant: Contestant, size: int) -> Mapping[str, float]:
    contestant.send("double", 0)
    return {f"threads_{number}": size / _in_threads(contestant, size, number) for number in _THREADS}


def _in_threads(contestant: Contestant, size: int, number: int) -> float:
    """The seconds in which this number of threads sends all tasks."""
    parts = [range(first, size, number) for first in range(number)]
    ready, failures = threading.Barrier(number + 1), list[BaseException]()

    def send(part: Sequence[int]) -> None:
        ready.wait()
        try:
            for argument in part:
                contestant.send("double", argument)
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=send, args=(part,)) for part in parts]
    for each in running:
        each.start()
    ready.wait()
    began = time.perf_counter()
    for each in running:
        each.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return seconds


COROUTINES = Measure(
    name="coroutines",
    explanation="About {size} tasks sent from one event loop, while no worker runs: 100 requests at once, and then "
    "1,000. Only contestants with an interface for coroutines.",
    metrics=tuple(
        Metric(f"coroutines_{number}", f"send from {number:,} coroutines", "tasks/s", more_is_better=True)
        for number in _AT_ONCE
    ),
    run=coroutines,
    size=10_000,
    quick_size=2_000,
    shared=True,
)

THREADS = Measure(
    name="threads",
    explanation="About {size} tasks sent one by one by 1, 8 and 32 threads of one process, while no worker runs. Only "
    "contestants whose interface for threads is not a wrapper of an event loop.",
    metrics=tuple(
        Metric(f"threads_{number}", f"send from {number} thread{'s' * (number > 1)}", "tasks/s", more_is_better=True)
        for number in _THREADS
    ),
    run=threads,
    size=10_000,
    quick_size=2_000,
    shared=True,
)
