"""What was found, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict

from comparison import OURS, RIVALS, Values, best, ratio
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
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Redis": _version("redis-server", "--version"),
        "SQLite": sqlite3.sqlite_version,
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
    yield f"# Benchmarks{' (quick: one round of few tasks, so chance and ramping up weigh more)' if plan.quick else ''}"
    yield ""
    yield ", ".join(f"{name}: {value}" for name, value in facts.items()) + "."
    yield ""
    yield "Median of the rounds (lowest to highest). Ratios say how many times better one is: medians of the ratios"
    yield "round by round; for less than 1, the other is better. Rows of the same servers and durability are compared."
    yield from _summary(results)
    for name, values in results.values.items():
        yield from _measure(MEASURES[name], plan.size(MEASURES[name]), values)
    yield from _setups(results)
    if results.failures:
        yield from ["", "## What has failed", "", *(f"- {failure}" for failure in results.failures)]


def _summary(results: Results) -> Iterator[str]:
    rows = [
        [name, f"{metric.title}, {metric.unit}", _spread(values[name][metric.key])]
        + [_against(metric, name, rival, values, named=True) for rival in RIVALS]
        for measure, values in results.values.items()
        for metric in MEASURES[measure].metrics
        for name in values
        if metric.compared and ENTRIES[name].system == OURS
    ]
    if rows:
        yield ""
        yield "## drivetrain in short"
        yield ""
        yield from _table(["", "", "median", *(f"to {rival}" for rival in RIVALS)], rows)


def _against(metric: Metric, name: str, rival: str, values: Values, *, named: bool = False) -> str:
    other = best(metric, ENTRIES[name].group, rival, values)
    if other is None or other == name:
        return ""
    told = f"{ratio(metric, values[name][metric.key], values[other][metric.key]):.2f}"
    return f"**{told}** ({other}: {_number(median(values[other][metric.key]))})" if named else told


def _measure(measure: Measure, size: int, values: Values) -> Iterator[str]:
    yield ""
    yield f"## {measure.metrics[0].title[0].upper()}{measure.metrics[0].title[1:]}"
    yield ""
    explanation = measure.explanation.format(size=f"{size:,}")
    yield explanation + (" Who is slower has fewer tasks, who is faster more." if measure.shared else "")
    yield ""
    yield from _table(
        ["", *(column for metric in measure.metrics for column in _titles(metric))],
        [
            [name, *(cell for metric in measure.metrics for cell in _cells(metric, name, values))]
            for name in sorted(values, key=list(ENTRIES).index)
        ],
    )


def _titles(metric: Metric) -> list[str]:
    title = f"{metric.title}, {metric.unit}" if metric.unit else metric.title
    return [title, *(f"to {rival}" for rival in RIVALS)] if metric.compared else [title]


def _cells(metric: Metric, name: str, values: Values) -> list[str]:
    shown = _spread(values[name].get(metric.key, []))
    return [shown, *(_against(metric, name, rival, values) for rival in RIVALS)] if metric.compared else [shown]


def _spread(series: Sequence[float]) -> str:
    if len(series) <= 1:
        return "".join(map(_number, series))
    return f"{_number(median(series))} ({_number(min(series))} to {_number(max(series))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _setups(results: Results) -> Iterator[str]:
    yield ""
    yield "## How each is set up"
    yield ""
    yield "All of them store results. The number of tasks at a time is that of the fastest trial before the first"
    yield "round, or in a quick run the first that its file names; the rates of the trials are in the JSON."
    yield ""
    yield from _table(
        ["", "how", "does a task survive its worker", "tasks at a time", "versions"],
        [
            [
                name,
                told["setup"],
                told["crash_safe"],
                str(results.concurrency[name]),
                ", ".join(f"{package} {version}" for package, version in told["versions"].items()),
            ]
            for name, told in results.setups.items()
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join(['---'] + ['---:'] * (len(head) - 1))} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _version(*command: str) -> str:
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return next((word.removeprefix("v=") for word in told.split() if word.startswith("v=")), told.strip())


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
