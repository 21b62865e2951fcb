"""How fast workers work off a full queue, and what that takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, check, when_stored, working
from processes import cpu_seconds

__all__ = ["DRAIN", "DRAIN_TWO"]

#: Processor time is told for so many tasks.
_TASKS = 10_000


def drain(contestant: Contestant, size: int) -> Mapping[str, float]:
    numbers = range(size)
    servers = [server.pid for server in contestant.place.servers.values()]
    handles = contestant.send_many("double", numbers)
    with working(contestant) as workers:

        def look() -> tuple[float, float, float]:
            return time.perf_counter(), workers.cpu(), cpu_seconds(servers)

        began = when_stored(contestant, handles[:1], look)
        ended = when_stored(contestant, handles, look)
        check(contestant, handles, numbers)
    seconds, workers_took, servers_took = (after - before for before, after in zip(began, ended, strict=True))
    found = {"rate": (size - 1) / seconds, "workers": workers_took / size * _TASKS}
    return {**found, "servers": servers_took / size * _TASKS} if servers else found


_EXPLANATION = (
    "About {size} tasks wait, then %s: from when the first result can be read until the last can be, so that starting "
    "an interpreter and connecting do not count. Then all results are read back and checked. Beside it the seconds of "
    "a processor that 10,000 tasks take meanwhile, in the workers and in the servers."
)
_METRICS = (
    Metric("rate", "drain with results", "tasks/s", more_is_better=True),
    Metric("workers", "CPU, workers", "s per 10,000", compared=False),
    Metric("servers", "CPU, servers", "s per 10,000", compared=False),
)

DRAIN = Measure(
    name="drain",
    explanation=_EXPLANATION % "one worker process starts",
    metrics=_METRICS,
    run=drain,
    size=20_000,
    quick_size=2_000,
    shared=True,
)

DRAIN_TWO = Measure(
    name="drain_two",
    explanation=_EXPLANATION % "two worker processes start",
    metrics=_METRICS,
    run=drain,
    size=20_000,
    shared=True,
    processes=2,
)
