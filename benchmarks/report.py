"""What was found, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict

from contestants import ENTRIES
from measures import MEASURES, Measure, Metric
from session import Plan, Results

__all__ = ["as_json", "as_markdown", "machine"]

_FLUSHES = 200


def machine(where: Path) -> Mapping[str, str]:
    """What it ran on, and how fast the disk flushes: durable rows are bound by that."""
    return {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "SQLite": sqlite3.sqlite_version,
        "drivetrain": version("drivetrain"),
        "Huey": version("huey"),
        "one fsync of 4 KB": f"{_flush_seconds(where) * 1e6:.0f} µs",
    }


def as_json(plan: Plan, results: Results, facts: Mapping[str, str]) -> Mapping[str, Any]:
    """Everything that was measured."""
    sizes = {measure.name: plan.size(measure) for measure in plan.measures}
    return {"machine": facts, "quick": plan.quick, "sizes": sizes, **asdict(results)}


def as_markdown(plan: Plan, results: Results, facts: Mapping[str, str]) -> str:
    """The tables."""
    return "\n".join(_lines(plan, results, facts)) + "\n"


def _lines(plan: Plan, results: Results, facts: Mapping[str, str]) -> Iterator[str]:
    yield f"# Benchmarks{' (quick: few tasks, so ramping up weighs more)' if plan.quick else ''}"
    yield ""
    yield ", ".join(f"{name}: {value}" for name, value in facts.items()) + "."
    yield ""
    yield 'Median of the rounds (lowest to highest). "vs Huey": how many times better than Huey at equal durability,'
    yield "the median of the ratios round by round; for less than 1, Huey is better."
    for name, values in results.values.items():
        yield from _measure(MEASURES[name], plan.size(MEASURES[name]), values)
    yield from _setups(results)


def _measure(measure: Measure, size: int, values: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    yield ""
    yield f"## {measure.name.replace('_', ' ').capitalize()}"
    yield ""
    yield measure.explanation.format(size=f"{size:,}")
    yield ""
    yield from _table(
        ["", *(column for metric in measure.metrics for column in _titles(metric))],
        [
            [name, *(cell for metric in measure.metrics for cell in _cells(metric, name, values))]
            for name in sorted(values, key=list(ENTRIES).index)
        ],
    )


def _titles(metric: Metric) -> list[str]:
    return [f"{metric.title}, {metric.unit}", *(["vs Huey"] if metric.compared else [])]


def _cells(metric: Metric, name: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    series = values[name][metric.key]
    shown = _number(median(series))
    if len(series) > 1:
        shown += f" ({_number(min(series))} to {_number(max(series))})"
    rival = ENTRIES[name].rival
    if not metric.compared:
        return [shown]
    if rival is None or rival not in values:
        return [shown, ""]
    return [shown, f"**{_ratio(metric, series, values[rival][metric.key]):.2f}**"]


def _ratio(metric: Metric, ours: Sequence[float], theirs: Sequence[float]) -> float:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return median(ratios if metric.more_is_better else [1 / ratio for ratio in ratios])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _setups(results: Results) -> Iterator[str]:
    yield ""
    yield "## How each is set up"
    yield ""
    yield "The number of worker threads is that of the fastest trial before the first round."
    yield ""
    counts = sorted({threads for rates in results.tuning.values() for threads in rates})
    yield from _table(
        ["", "how", "threads", *(f"best drain with {count}, tasks/s" for count in counts)],
        [
            [
                name,
                results.setups.get(name, ""),
                str(results.threads[name]),
                *(_number(max(rates[count])) if count in rates else "" for count in counts),
            ]
            for name, rates in results.tuning.items()
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join(['---'] + ['---:'] * (len(head) - 1))} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _flush_seconds(where: Path) -> float:
    seconds = []
    with tempfile.NamedTemporaryFile(dir=where) as file:
        for _ in range(_FLUSHES):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return median(seconds)
