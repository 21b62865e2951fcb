"""A line without axes, as high as a line of text. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from drivetrain_dashboard.drawing.scales import Scale, nice_ceiling
from drivetrain_dashboard.drawing.svg import coordinate, element
from drivetrain_dashboard.drawing.words import number

__all__ = ["sparkline"]

_MARGIN = 3


def sparkline(values: Sequence[float], what: str, *, style: int = 1, width: int = 96, height: int = 24) -> Markup:
    """A line through the values, with a point at the last one.

    Args:
        values: in order of time; what is not finite counts as 0.
        what: what they are, for people who hear the page: "failed per minute".
        style: the colour and the dashes of the line, as of `Series`.
        width: in pixels.
        height: in pixels.
    """
    shown = [value if math.isfinite(value) else 0.0 for value in values]
    title = f"{what}: {_summary(shown)}"
    x = Scale(0, max(len(shown) - 1, 0), _MARGIN, width - _MARGIN)
    y = Scale(0, nice_ceiling(shown), height - _MARGIN, _MARGIN)
    points = [(x.at(position), y.at(value)) for position, value in enumerate(shown)]
    parts = [element("title", title)]
    if len(points) > 1:
        path = " ".join(f"{coordinate(one)},{coordinate(other)}" for one, other in points)
        parts.append(element("polyline", points=path, class_=f"line series-{style}"))
    if points:
        parts.append(element("circle", cx=points[-1][0], cy=points[-1][1], r=2, class_=f"dot series-{style}"))
    return element(
        "svg",
        *parts,
        class_="sparkline",
        role="img",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        aria_label=title,
    )


def _summary(values: Sequence[float]) -> str:
    if not values:
        return "no data"
    return f"{number(values[-1])} now, at most {number(max(values))}"
