"""Broken backends, versioned values and locks: at least one for each clause R…, V… and L…."""

from __future__ import annotations

from mutants import (
    backend_batches,
    backend_groups,
    backend_life,
    backend_listing,
    backend_locks,
    backend_names,
    backend_races,
    backend_tasks,
    backend_times,
    backend_value_lists,
    backend_values,
)
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *backend_tasks.MUTANTS,
    *backend_listing.MUTANTS,
    *backend_groups.MUTANTS,
    *backend_life.MUTANTS,
    *backend_locks.MUTANTS,
    *backend_races.MUTANTS,
    *backend_batches.MUTANTS,
    *backend_names.MUTANTS,
    *backend_times.MUTANTS,
    *backend_values.MUTANTS,
    *backend_value_lists.MUTANTS,
)
