"""Draws SVG from frozen values. Every function is pure: the same values give the same drawing.

A drawing has no colours and no `style` attributes. Its elements have classes, and the style sheet has the colours of
both themes. A state is always written as a word too.
"""

from drivetrain_dashboard.drawing.for_templates import FILTERS, GLOBALS
from drivetrain_dashboard.drawing.spans import Span, SpanRow, span_chart
from drivetrain_dashboard.drawing.sparkline import sparkline
from drivetrain_dashboard.drawing.time_chart import Series, TimeChart, time_chart
from drivetrain_dashboard.drawing.timeline import TaskTimeline, TimelineChange, task_timeline
from drivetrain_dashboard.drawing.waterfall import waterfall
from drivetrain_dashboard.drawing.workflow_graph import workflow_graph

__all__ = [
    "FILTERS",
    "GLOBALS",
    "Series",
    "Span",
    "SpanRow",
    "TaskTimeline",
    "TimeChart",
    "TimelineChange",
    "span_chart",
    "sparkline",
    "task_timeline",
    "time_chart",
    "waterfall",
    "workflow_graph",
]
