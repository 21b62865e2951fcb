"""Counts of tasks, shown: as documents for JSON, as tables, and as small charts in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain.cli.output import timestamp
from drivetrain.cli.overview_tables import Table
from drivetrain.worker.counts.histogram import Histogram
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.counts.task_counts import TaskCounts

__all__ = ["chart", "counts_document", "counts_table", "over_time_document", "seconds_text"]

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-:=+*#"
_NUMBERS = ("received", "succeeded", "failed", "retried", "cancelled", "expired", "lease_lost")
#: The name of tasks that no worker knows.
_UNKNOWN = "(unknown)"
#: More columns do not fit into a terminal.
_MOST_BARS = 60


def counts_document(counts: TaskCounts) -> dict[str, Any]:
    """Counts for JSON."""
    numbers = {name: getattr(counts, name) for name in _NUMBERS}
    return {**numbers, "run": _histogram_document(counts.run), "waiting": _histogram_document(counts.waiting)}


def over_time_document(counts: CountsOverTime) -> dict[str, Any]:
    """Counts over time for JSON: in total, by task, by queue, and for each step."""
    return {
        "since": timestamp(counts.since),
        "until": timestamp(counts.until),
        "step_seconds": counts.step_seconds,
        "total": counts_document(counts.total),
        "tasks": {name: counts_document(one) for name, one in sorted(counts.by_task().items())},
        "queues": {name: counts_document(one) for name, one in sorted(counts.by_queue().items())},
        "points": [{"start": timestamp(point.start), **counts_document(point.total)} for point in counts.points],
    }


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
    rows = [
        _row(name or _UNKNOWN, one, chart(_ended(counts, name, by_queue=by_queue), encoding))
        for name, one in sorted(names.items())
    ]
    if len(rows) > 1:
        rows.append(_row("(all)", counts.total, chart([point.total.ended for point in counts.points], encoding)))
    return headers, rows


def chart(values: Sequence[float], encoding: str = "utf-8") -> str:
    """A bar for each value. The highest bar is the largest value; an empty place is a zero.

    Many values are joined, a few to a bar.
    """
    joined = -(-len(values) // _MOST_BARS) or 1
    sums = [sum(values[first : first + joined]) for first in range(0, len(values), joined)]
    largest, bars = max(sums, default=0), _BARS if _can_encode(encoding) else _ASCII_BARS
    return "".join(" " if not one else bars[round(one / largest * (len(bars) - 1))] for one in sums)


def seconds_text(seconds: float | None) -> str:
    """A duration in three digits or fewer; empty for None."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 999.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 59_970 else f"{seconds / 3600:.3g} h"


def _row(name: str, counts: TaskCounts, bars: str) -> tuple[object, ...]:
    quantiles = [
        seconds_text(one.quantile(fraction)) for one in (counts.waiting, counts.run) for fraction in (0.5, 0.95)
    ]
    return (name, *(getattr(counts, number) for number in _NUMBERS), *quantiles, bars)


def _ended(counts: CountsOverTime, name: str, *, by_queue: bool) -> list[int]:
    """How many tasks of this name have ended in each step."""
    return [
        sum(one.counts.ended for one in point.tasks if (one.queue if by_queue else one.task) == name)
        for point in counts.points
    ]


def _histogram_document(histogram: Histogram) -> dict[str, Any]:
    return {
        "count": histogram.count,
        "sum_seconds": histogram.sum,
        "mean_seconds": histogram.mean,
        "p50_seconds": histogram.quantile(0.5),
        "p95_seconds": histogram.quantile(0.95),
        "p99_seconds": histogram.quantile(0.99),
        "max_seconds": histogram.max if histogram.counts else None,
    }


def _can_encode(encoding: str) -> bool:
    try:
        _BARS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
