"""Rows of spans of time on one axis: what the waterfall of a workflow and the timeline of a task are made of. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen
from markupsafe import Markup

from drivetrain_dashboard.drawing.scales import Scale, duration_step
from drivetrain_dashboard.drawing.svg import element, joined, label, shortened
from drivetrain_dashboard.drawing.words import duration

__all__ = ["Span", "SpanRow", "span_chart"]

_ROW, _BAR, _TOP, _BOTTOM = 26, 14, 6, 24
_LABELS, _NOTES = 220, 150
_INDENT, _DEEPEST = 12, 6
#: The width of a character of the font of drawings, in pixels, and of a span that is too short to be seen.
_CHARACTER, _LEAST = 7.0, 2.0
_TICK_WIDTH = 80


@frozen(kw_only=True)
class Span:
    """A part of a row.

    Attributes:
        start, end: in Unix seconds.
        kind: its class in the style sheet, for example `waiting` or `state-success`.
        title: what it is, with its duration; shown where the pointer is.
    """

    start: float
    end: float
    kind: str
    title: str


@frozen(kw_only=True)
class SpanRow:
    """A row.

    Attributes:
        name: shown before the spans.
        spans: in order of time; none: the row says only its note.
        note: shown behind the axis: a state, a duration.
        link: an address for the name; empty: it is not a link.
        depth: how far the name is indented.
    """

    name: str
    spans: Sequence[Span]
    note: str = ""
    link: str = ""
    depth: int = 0


def span_chart(rows: Sequence[SpanRow], title: str, *, width: int = 900) -> Markup:
    """The rows below one another, on an axis from the first start to the last end.

    Args:
        rows: in the order in which they are drawn.
        title: what they show, for people who hear the page.
        width: in pixels.
    """
    moments = [at for row in rows for span in row.spans for at in (span.start, span.end) if math.isfinite(at)]
    since, until = (min(moments), max(moments)) if moments else (0.0, 0.0)
    bottom = _TOP + _ROW * max(len(rows), 1)
    x = Scale(since, until, _LABELS, width - _NOTES)
    content = [*_axis(x, bottom), *(part for number, row in enumerate(rows) for part in _row(row, number, x))]
    if not rows:
        content = [label(width / 2, bottom - 8, "Nothing is recorded", class_="empty", text_anchor="middle")]
    drawing = element(
        "svg",
        element("title", title),
        *content,
        viewBox=f"0 0 {width} {bottom + _BOTTOM}",
        class_="wide",
    )
    return element("div", drawing, class_="chart-area spans", role="group", tabindex="0", aria_label=title)


def _axis(x: Scale, bottom: float) -> list[Markup]:
    """Ticks by the time since the start."""
    extent = x.last - x.first
    if not extent > 0:
        return []
    step = duration_step(extent, int((x.end - x.start) // _TICK_WIDTH))
    parts: list[Markup] = []
    for position in range(int(extent // step) + 1):
        at = x.at(x.first + position * step)
        parts.append(element("line", x1=at, x2=at, y1=_TOP, y2=bottom, class_="grid"))
        parts.append(label(at, bottom + 16, duration(position * step), class_="tick", text_anchor="middle"))
    return parts


def _row(row: SpanRow, number: int, x: Scale) -> list[Markup]:
    top = _TOP + number * _ROW
    baseline = top + _ROW / 2 + 4
    indent = _INDENT * min(row.depth, _DEEPEST)
    name = label(indent, baseline, shortened(row.name, int((_LABELS - 12 - indent) // _CHARACTER)), class_="row-name")
    named = element("g", element("title", row.name), name)
    parts = [element("a", named, href=row.link) if row.link else named]
    for span in row.spans:
        start, end = x.at(span.start), x.at(span.end)
        start = min(start, x.end - _LEAST)
        parts.append(
            element(
                "rect",
                element("title", span.title),
                x=start,
                y=top + (_ROW - _BAR) / 2,
                width=max(end - start, _LEAST),
                height=_BAR,
                rx=2,
                class_=f"span {span.kind}",
            )
        )
    if row.note:
        parts.append(label(x.end + 10, baseline, shortened(row.note, int((_NOTES - 12) // _CHARACTER)), class_="note"))
    return [element("g", joined(parts), class_="row")]
