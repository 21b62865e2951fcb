"""Broken stores of versioned values: for each clause V…, and for what is built on them."""

from __future__ import annotations

from mutants import (
    value_batches,
    value_life,
    value_lists,
    value_locks,
    value_names,
    value_sqlite,
    value_times,
    value_versions,
    value_waits,
    value_writes,
)
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *value_writes.MUTANTS,
    *value_versions.MUTANTS,
    *value_times.MUTANTS,
    *value_batches.MUTANTS,
    *value_lists.MUTANTS,
    *value_names.MUTANTS,
    *value_life.MUTANTS,
    *value_waits.MUTANTS,
    *value_sqlite.MUTANTS,
    *value_locks.MUTANTS,
)
