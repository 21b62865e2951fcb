"""The contract of a timetable, and its form in a stored schedule: a kind and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from drivetrain.contract.serializer import Plain

__all__ = ["ScheduleSpec", "Timetable"]


@runtime_checkable
class Timetable(Protocol):
    """Computes the instants of a schedule. Pure: no clock, no state, no randomness. Thread-safe.

    All schedulers compute the same instants from the same parameters, so that each instant is one tick.
    """

    def after(self, instant: datetime) -> datetime | None:
        """The first instant after this one, by elapsed time and to the millisecond; both are aware. None: no more."""
        ...


@frozen
class ScheduleSpec:
    """When a schedule ticks. It is stored, so it contains names and plain values only.

    Attributes:
        kind: the kind of timetable: ``cron``, ``every``, ``at``, or an entry point of ``drivetrain.timetables``.
        parameters: the parameters of the timetable.
    """

    kind: str
    parameters: Mapping[str, Plain] = field(factory=dict)
