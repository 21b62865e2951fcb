"""The measures of the benchmarks."""

from __future__ import annotations

from measures import backlog, chain, chord, drain, enqueue, eta, memory, payload, round_trip, senders
from measures.base import Measure, Metric

__all__ = ["MEASURES", "Measure", "Metric"]

#: In the order of the report.
MEASURES = {
    one.name: one
    for one in (
        drain.DRAIN,
        drain.DRAIN_TWO,
        enqueue.ENQUEUE,
        senders.COROUTINES,
        senders.THREADS,
        round_trip.ROUND_TRIP,
        *chord.CHORDS,
        chain.CHAIN,
        eta.ETA,
        memory.IDLE,
        memory.MEMORY,
        backlog.WAITING,
        backlog.DELAYED,
        *payload.PAYLOADS,
    )
}
