"""How punctual tasks are that are due at a time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from contestants.base import Contestant
from measures.base import Measure, Metric, working

__all__ = ["ETA"]

#: From before they are sent until they are due; the slowest sender needs a part of it.
_AHEAD_SECONDS = 8.0
_LONGEST_SECONDS = 120.0
_LOOK_SECONDS = 0.1
#: After the last has run, for duplicates to come.
_AFTERWARDS_SECONDS = 2.0


def eta(contestant: Contestant, size: int) -> Mapping[str, float]:
    file = contestant.place.directory / "runs"
    file.touch()
    with working(contestant):
        contestant.round_trip(1)
        due = time.time() + _AHEAD_SECONDS
        contestant.send_many_at(due, "record", [f"{file} {number}" for number in range(size)])
        if time.time() > due:
            raise TimeoutError(f"{size} tasks could not be sent before they are due, in {_AHEAD_SECONDS:g} seconds")
        while len(_runs(file)) < size:
            if time.time() - due > _LONGEST_SECONDS:
                raise TimeoutError(f"{size - len(_runs(file))} tasks are {_LONGEST_SECONDS:g} seconds late")
            time.sleep(_LOOK_SECONDS)
        time.sleep(_AFTERWARDS_SECONDS)
    runs = _runs(file)
    late = [(times[0] - due) * 1000 for times in runs.values()]
    cuts = statistics.quantiles(late, n=100, method="inclusive")
    return {
        "p50": cuts[49],
        "p99": cuts[98],
        "early": sum(one < 0 for one in late),
        "duplicates": sum(len(times) - 1 for times in runs.values()),
    }


def _runs(file: Path) -> Mapping[str, Sequence[float]]:
    """When each task ran, by its number: the tasks themselves have written it down."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in file.read_text().splitlines():
        number, _, when = line.partition(" ")
        found[number].append(float(when))
    return found


ETA = Measure(
    name="eta",
    explanation="{size} tasks, all due at one time 8 seconds ahead, with a worker waiting. Each notes when it runs: "
    "how late that is, how many run too early, and how often one runs again.",
    metrics=(
        Metric("p99", "lateness, p99", "ms"),
        Metric("p50", "p50", "ms", compared=False),
        Metric("early", "too early", "tasks", compared=False),
        Metric("duplicates", "run again", "times", compared=False),
    ),
    run=eta,
    size=1_000,
)
