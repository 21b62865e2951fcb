"""Bar charts of what was found: a PNG for each group of rows and compared metric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from comparison import CEILING, GROUPS, OURS
from contestants import ENTRIES
from measures import MEASURES, Metric
from session import Results

__all__ = ["draw"]

_COLOURS = {OURS: "#2563eb", CEILING: "#d4d4d8"}
_PEERS = "#94a3b8"
_WIDTH, _BAR_HEIGHT, _MARGIN = 7.0, 0.36, 0.8  # inches


def draw(results: Results, where: Path) -> None:
    """Draw all of them into this directory, in place of those that are there."""
    for old in where.glob("*.png"):
        old.unlink()
    for measure, values in results.values.items():
        for metric in MEASURES[measure].metrics:
            for group in GROUPS:
                rows = [
                    (name, series[metric.key])
                    for name, series in values.items()
                    if metric.compared and ENTRIES[name].group == group
                ]
                if rows:
                    _bars(metric, group, rows, where / f"{_slug(group)}-{_slug(metric.title)}.png")


def _bars(metric: Metric, group: str, rows: Sequence[tuple[str, Sequence[float]]], file: Path) -> None:
    from matplotlib.figure import Figure  # slow to import; a Figure of its own needs no display

    rows = sorted(rows, key=lambda row: median(row[1]), reverse=not metric.more_is_better)
    names = [name for name, _ in rows]
    medians = [median(series) for _, series in rows]
    spread = [
        [middle - min(series) for middle, (_, series) in zip(medians, rows, strict=True)],
        [max(series) - middle for middle, (_, series) in zip(medians, rows, strict=True)],
    ]
    figure = Figure(figsize=(_WIDTH, _MARGIN + _BAR_HEIGHT * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = [_COLOURS.get(ENTRIES[name].system, _PEERS) for name in names]
    bars = axes.barh(names, medians, xerr=spread, color=colours, ecolor="#52525b", capsize=2)
    axes.bar_label(bars, labels=[_number(value) for value in medians], padding=6, fontsize=8)
    axes.margins(x=0.14)
    better = "more" if metric.more_is_better else "less"
    axes.set_title(f"{metric.title}, {metric.unit} ({group}; {better} is better)", fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
