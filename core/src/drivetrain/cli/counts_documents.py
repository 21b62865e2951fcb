"""Counts of tasks as documents for JSON."""

from __future__ import annotations

from typing import Any

from drivetrain.cli.output import timestamp
from drivetrain.worker.counts.histogram import Histogram
from drivetrain.worker.counts.over_time import CountsOverTime
from drivetrain.worker.counts.task_counts import NUMBERS, TaskCounts

__all__ = ["counts_document", "over_time_document"]


def counts_document(counts: TaskCounts) -> dict[str, Any]:
    """Counts for JSON."""
    numbers = {name: getattr(counts, name) for name in NUMBERS}
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
