"""Scaling in a supervisor: adds up what its processes report, and logs what it decides."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from drivetrain.cli.autoscaling import Autoscaler, Load
from drivetrain.cli.free_processors import ProcessorMeter
from drivetrain.cli.load_reports import LoadReport
from drivetrain.worker.status import Scale

__all__ = ["Scaling"]

logger = logging.getLogger("drivetrain.supervisor")

_SECONDS = 1.0


class Scaling:
    """Decides the number of processes of one worker, once a second. Used by one thread.

    Args:
        least: the smallest number.
        most: the largest number.
    """

    def __init__(self, least: int, most: int) -> None:
        self._autoscaler = Autoscaler(least, most)
        self._meter = ProcessorMeter()
        self._decided_at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time to decide; ``now``: monotonic seconds."""
        return now - self._decided_at >= _SECONDS

    def processes(self, reports: Sequence[LoadReport | None], now: float) -> int:
        """How many processes there are to be.

        Args:
            reports: the last report of each process that does not retire; None: it has not reported yet.
            now: monotonic seconds.
        """
        self._decided_at = now
        free = self._meter.free()
        known = [one for one in reports if one is not None]
        ready = [one.ready for one in known if one.ready is not None]
        if not ready:
            return len(reports)  # the broker is away, or the process that asks it has not reported
        load = Load(
            processes=len(reports),
            starting=len(reports) - len(known),
            waiting=sum(ready) + sum(one.waiting for one in known),
            running=sum(one.running for one in known),
            ended_per_second=sum(one.ended_per_second for one in known),
            slots=max(one.slots for one in known),
            processors_used=sum(one.processors_used for one in known),
            processors_free=free,
        )
        logger.debug("%s", load)
        decision = self._autoscaler.decide(load, now)
        if decision is None:
            return load.processes
        logger.info("from %d to %d worker processes: %s", load.processes, decision.processes, decision.reason)
        return decision.processes

    def scale(self, processes: int) -> Scale:
        """What processes report of it."""
        return self._autoscaler.scale(processes)
