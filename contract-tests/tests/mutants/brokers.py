"""Broken brokers."""

from __future__ import annotations

from mutants import (
    broker_again,
    broker_crashes,
    broker_dead_letters,
    broker_delays,
    broker_fairness,
    broker_life,
    broker_limits,
    broker_looking,
    broker_names,
    broker_processes,
    broker_publishing,
    broker_races,
    broker_receiving,
    broker_settling,
    broker_times,
    broker_wakes,
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
    broker_fairness,
    broker_life,
    broker_processes,
    broker_crashes,
    broker_limits,
    broker_names,
    broker_times,
    broker_again,
    broker_wakes,
    broker_races,
)  # each has marked its own

MUTANTS: tuple[Mutant, ...] = tuple(FOUND)
