"""How fast tasks are sent, while nobody works."""

from __future__ import annotations

import time
from collections.abc import Mapping

from contestants.base import Contestant
from measures.base import Measure, Metric, check, wait_until_stored, working

__all__ = ["ENQUEUE"]

#: One by one is slow, and every call like the other.
_PART_ONE_BY_ONE = 0.2


def enqueue(contestant: Contestant, size: int) -> Mapping[str, float]:
    few, many = range(int(size * _PART_ONE_BY_ONE)), range(size)
    contestant.send("double", 0)  # connects
    began = time.perf_counter()
    handles = [contestant.send("double", number) for number in few]
    between = time.perf_counter()
    handles += contestant.send_many("double", many)
    ended = time.perf_counter()
    with working(contestant):
        wait_until_stored(contestant, handles)
        check(contestant, handles, [*few, *many])
    return {"one_by_one": len(few) / (between - began), "bulk": len(many) / (ended - between)}


ENQUEUE = Measure(
    name="enqueue",
    explanation="A fifth of about {size} tasks sent one by one, then {size} in bulk, while no worker runs. "
    "Then a worker runs them, and all results are read back and checked.",
    metrics=(
        Metric("one_by_one", "enqueue, one by one", "tasks/s", more_is_better=True),
        Metric("bulk", "enqueue, in bulk", "tasks/s", more_is_better=True),
    ),
    run=enqueue,
    size=10_000,
    quick_size=1_000,
    shared=True,
)
