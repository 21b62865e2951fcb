"""Who is compared with whom: with Celery, with the best of all peers, with the ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from contestants import ENTRIES, Entry
from measures import Metric

__all__ = ["CEILING", "CELERY", "GROUPS", "OURS", "RIVALS", "Values", "best", "ratio"]

OURS, CELERY, CEILING = "drivetrain", "Celery", "ceiling"
#: In the order of the report.
GROUPS = list(dict.fromkeys(entry.group for entry in ENTRIES.values()))

#: By what the report calls them: which entries are asked.
RIVALS: Mapping[str, Callable[[Entry], bool]] = {
    "Celery": lambda entry: entry.system == CELERY,
    "best peer": lambda entry: entry.system not in {OURS, CEILING},
    "ceiling": lambda entry: entry.system == CEILING,
}

#: By contestant and metric, one value for each round.
Values = Mapping[str, Mapping[str, Sequence[float]]]


def best(metric: Metric, group: str, rival: str, values: Values) -> str | None:
    """The one with the best median among those of a group, if there is any."""
    names = [
        name
        for name in values
        if ENTRIES[name].group == group and RIVALS[rival](ENTRIES[name]) and metric.key in values[name]
    ]
    choose = max if metric.more_is_better else min
    return choose(names, key=lambda name: median(values[name][metric.key]), default=None)


def ratio(metric: Metric, ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times better the first is: the median of the ratios round by round."""
    # One that has failed in a round has a value less.
    ratios = [one / other for one, other in zip(ours, theirs, strict=False)]
    return median(ratios if metric.more_is_better else [1 / one for one in ratios])
