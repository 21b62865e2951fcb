"""A chart of values over time: lines, or areas upon one another. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeGuard

from attrs import frozen
from markupsafe import Markup

from drivetrain_dashboard.drawing.scales import Scale, nice_ceiling, ticks, time_ticks
from drivetrain_dashboard.drawing.svg import coordinate, element, joined, label
from drivetrain_dashboard.drawing.words import duration, exact_time, number

__all__ = ["Series", "TimeChart", "time_chart"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 24
#: About how many pixels a label of the axis of time needs.
_TICK_WIDTH = 90
#: How many styles of lines the style sheet has.
_STYLES = 6

Unit = Literal["count", "seconds"]


@frozen(kw_only=True)
class Series:
    """The values of one name.

    Attributes:
        name: shown in the legend.
        values: one for each step; None: there is none.
        style: the colour and the dashes of the line, from 1 to 6. The same thing has the same style on every page.
    """

    name: str
    values: Sequence[float | None]
    style: int


@frozen(kw_only=True)
class TimeChart:
    """A chart.

    Attributes:
        title: what it shows, with the unit: "Tasks per minute".
        since: the start of the first step, in Unix seconds.
        step_seconds: the length of a step.
        series: the lines. All have the same number of values.
        unit: whether values are counts or seconds.
    """

    title: str
    since: float
    step_seconds: float
    series: Sequence[Series]
    unit: Unit = "count"

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return max((len(one.values) for one in self.series), default=0)

    @property
    def until(self) -> float:
        """The end of the last step, in Unix seconds."""
        return self.since + self.steps * self.step_seconds

    def written(self, value: float) -> str:
        """A value with its unit."""
        return duration(value) if self.unit == "seconds" else number(value)


def time_chart(chart: TimeChart, *, width: int = 640, height: int = 190) -> Markup:
    """A figure with a caption, a legend and the drawing.

    It scrolls sideways where the page is narrower than the drawing. A pointer over a step shows its values. People who
    hear the page get a summary: the last and the largest value of each series.
    """
    caption = element("figcaption", element("span", chart.title, class_="chart-title"), _legend(chart))
    drawing = element(
        "svg",
        element("title", f"{chart.title}. {_summary(chart)}"),
        *_content(chart, width, height),
        role="img",
        viewBox=f"0 0 {width} {height}",
        aria_label=f"{chart.title}. {_summary(chart)}",
    )
    area = element("div", drawing, class_="chart-area", role="group", tabindex="0", aria_label=chart.title)
    return element("figure", caption, area, class_="chart")


def _content(chart: TimeChart, width: int, height: int) -> list[Markup]:
    right, bottom = width - _RIGHT, height - _BOTTOM
    values = [value for one in chart.series for value in one.values if _is_number(value)]
    if not values:
        return [label((_LEFT + right) / 2, height / 2, "No data in this range", class_="empty", text_anchor="middle")]
    ceiling = nice_ceiling(values)
    x = Scale(chart.since, chart.until, _LEFT, right)
    y = Scale(0, ceiling, bottom, _TOP)
    return [
        *_value_axis(chart, y, ceiling, right),
        *_time_axis(chart, x, bottom),
        *(part for one in chart.series for part in _line(chart, one, x, y)),
        *_step_areas(chart, x, bottom),
    ]


def _value_axis(chart: TimeChart, y: Scale, ceiling: float, right: float) -> list[Markup]:
    parts: list[Markup] = []
    for value in ticks(ceiling, chart.unit == "count"):
        at = y.at(value)
        parts.append(element("line", x1=_LEFT, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(label(_LEFT - 6, at + 4, chart.written(value), class_="tick", text_anchor="end"))
    return parts


def _time_axis(chart: TimeChart, x: Scale, bottom: float) -> list[Markup]:
    parts: list[Markup] = []
    for tick in time_ticks(chart.since, chart.until, int((x.end - x.start) // _TICK_WIDTH)):
        at = x.at(tick.at)
        parts.append(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
        anchor = "end" if at > x.end - _TICK_WIDTH / 4 else "middle"
        parts.append(label(at, bottom + 17, tick.text, class_="tick", text_anchor=anchor))
    return parts


def _line(chart: TimeChart, series: Series, x: Scale, y: Scale) -> list[Markup]:
    """A line for each run of steps with values; a point for a step without neighbours."""
    parts: list[Markup] = []
    for run in _runs(series.values):
        points = [(x.at(chart.since + (position + 0.5) * chart.step_seconds), y.at(value)) for position, value in run]
        style = f"series-{_style(series)}"
        if len(points) == 1:
            parts.append(element("circle", cx=points[0][0], cy=points[0][1], r=3, class_=f"dot {style}"))
        else:
            path = " ".join(f"{coordinate(one)},{coordinate(other)}" for one, other in points)
            parts.append(element("polyline", points=path, class_=f"line {style}"))
    return parts


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    known = [(position, float(value)) for position, value in enumerate(values) if _is_number(value)]
    runs: list[list[tuple[int, float]]] = [known[:1]] if known else []
    for (before, _), (position, value) in pairwise(known):
        if position != before + 1:
            runs.append([])
        runs[-1].append((position, value))
    return runs


def _step_areas(chart: TimeChart, x: Scale, bottom: float) -> list[Markup]:
    """An invisible area for each step; a pointer over it shows the values."""
    parts: list[Markup] = []
    for position in range(chart.steps):
        since = chart.since + position * chart.step_seconds
        start, end = x.at(since), x.at(since + chart.step_seconds)
        known = [
            f"{one.name}: {chart.written(value)}"
            for one in chart.series
            if position < len(one.values) and _is_number(value := one.values[position])
        ]
        text = element(
            "title",
            "\n".join([exact_time(since).replace(".000", "").replace(":00 UTC", " UTC"), *(known or ["no data"])]),
        )
        parts.append(element("rect", text, x=start, y=_TOP, width=end - start, height=bottom - _TOP, class_="step"))
    return parts


def _legend(chart: TimeChart) -> Markup:
    """The name of each series beside a sample of its line."""
    entries: list[Markup] = []
    for one in chart.series:
        line = element("line", x1=1, x2=23, y1=5, y2=5, class_=f"line series-{_style(one)}")
        sample = element("svg", line, viewBox="0 0 24 10", width=24, height=10, aria_hidden="true")
        entries.append(element("li", sample, " ", one.name))
    return element("ul", joined(entries), class_="legend") if entries else Markup("")


def _summary(chart: TimeChart) -> str:
    parts: list[str] = []
    for one in chart.series:
        known = [value for value in one.values if _is_number(value)]
        if known:
            parts.append(f"{one.name}: {chart.written(known[-1])} last, at most {chart.written(max(known))}")
    return "; ".join(parts) if parts else "No data in this range"


def _style(series: Series) -> int:
    return (series.style - 1) % _STYLES + 1


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
