"""Deliberately broken drivers, built over the in-memory ones."""

from __future__ import annotations

from drivetrain.contract import evolve
from mutants import backends, brokers, one_store, others, workflows
from mutants.quickest import QUICKEST

__all__ = ["ALL"]

_MADE = (*brokers.MUTANTS, *backends.MUTANTS, *others.MUTANTS, *workflows.MUTANTS, *one_store.MUTANTS)

ALL = tuple(evolve(mutant, by=QUICKEST.get((mutant.clause, mutant.name), mutant.by)) for mutant in _MADE)
