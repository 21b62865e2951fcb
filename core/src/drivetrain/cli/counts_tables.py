"""The table of counts over time, with a chart in each row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from drivetrain.cli.output import seconds_text
from drivetrain.cli.overview_tables import Table
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.counts.task_counts import NUMBERS, TaskCounts

__all__ = ["bar_seconds", "chart", "counts_table"]

#: For 0, and from low to high.
_BARS = "·▁▂▃▄▅▆▇█"
_ASCII_BARS = "._-:=+*#@"
#: The name of tasks that no worker knows.
_UNKNOWN = "(unknown)"
#: More columns do not fit into a terminal.
_MOST_BARS = 64


def counts_table(counts: CountsOverTime, *, by_queue: bool, encoding: str) -> Table:
    """A row for each task, or each queue, and one for all of them, with a chart of what has ended.

    Args:
        counts: the counts.
        by_queue: whether a row is for a queue.
        encoding: the encoding of the terminal.
    """
    names: Mapping[str, TaskCounts] = counts.by_queue() if by_queue else counts.by_task()
    headers = (
        *("QUEUE" if by_queue else "TASK", "RECEIVED", "SUCCEEDED", "FAILED", "RETRIED", "CANCELLED", "EXPIRED"),
        *("LEASE LOST", "WAITED p50", "p95", "RAN p50", "p95", "ENDED"),
    )
    ended = _ended(counts, by_queue=by_queue)
    rows = [_row(name or _UNKNOWN, one, chart(ended[name], encoding)) for name, one in sorted(names.items())]
    if len(rows) > 1:
        rows.append(_row("(all)", counts.total, chart([point.total.ended for point in counts.points], encoding)))
    return headers, rows


def chart(values: Sequence[float], encoding: str = "utf-8") -> str:
    """A bar for each value, as high as its share of the largest one; a dot for 0. Many values are joined."""
    joined = _joined(len(values))
    sums = [sum(values[first : first + joined]) for first in range(0, len(values), joined)]
    largest, bars = max(sums, default=0), _BARS if _can_encode(encoding) else _ASCII_BARS
    return "".join(bars[1 + round(one / largest * (len(bars) - 2))] if one else bars[0] for one in sums)


def bar_seconds(counts: CountsOverTime) -> int:
    """The length of time of a bar in the charts of a table."""
    return counts.step_seconds * _joined(len(counts.points))


def _joined(number: int) -> int:
    """How many of this number of values are joined to one bar."""
    return max(1, -(-number // _MOST_BARS))


def _row(name: str, counts: TaskCounts, bars: str) -> tuple[object, ...]:
    quantiles = [
        seconds_text(one.quantile(fraction)) for one in (counts.waiting, counts.run) for fraction in (0.5, 0.95)
    ]
    return (name, *(getattr(counts, number) for number in NUMBERS), *quantiles, bars)


def _ended(counts: CountsOverTime, *, by_queue: bool) -> Mapping[str, Sequence[int]]:
    """How many tasks have ended in each step, by task or by queue."""
    found: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(counts.points))
    for index, point in enumerate(counts.points):
        for one in point.tasks:
            found[one.queue if by_queue else one.task][index] += one.counts.ended
    return found


def _can_encode(encoding: str) -> bool:
    try:
        _BARS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
