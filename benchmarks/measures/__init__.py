"""The measures of the benchmarks."""

from __future__ import annotations

from measures import chord, drain, enqueue, memory, round_trip
from measures.base import Measure, Metric

__all__ = ["MEASURES", "Measure", "Metric"]

#: In the order of the report.
MEASURES = {one.name: one for one in (drain.DRAIN, enqueue.ENQUEUE, round_trip.ROUND_TRIP, chord.CHORD, memory.MEMORY)}
