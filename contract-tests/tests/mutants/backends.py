"""Broken backends and locks: at least one for each clause R… and L…."""

from __future__ import annotations

from mutants import backend_groups, backend_life, backend_listing, backend_locks, backend_tasks
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *backend_tasks.MUTANTS,
    *backend_listing.MUTANTS,
    *backend_groups.MUTANTS,
    *backend_life.MUTANTS,
    *backend_locks.MUTANTS,
)
