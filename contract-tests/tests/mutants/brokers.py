"""Broken brokers."""

from __future__ import annotations

from mutants import (
    broker_crashes,
    broker_dead_letters,
    broker_delays,
    broker_life,
    broker_looking,
    broker_processes,
    broker_publishing,
    broker_receiving,
    broker_settling,
)
from mutants.broker_base import FOUND, Impatient
from mutants.mutant import Mutant

__all__ = ["MUTANTS", "Impatient"]

_AREAS = (
    broker_publishing,
    broker_receiving,
    broker_settling,
    broker_delays,
    broker_dead_letters,
    broker_looking,
    broker_life,
    broker_processes,
    broker_crashes,
)  # each has marked its own

MUTANTS: tuple[Mutant, ...] = tuple(FOUND)
