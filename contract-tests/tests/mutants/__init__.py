"""Deliberately broken drivers, built over the in-memory ones; and core, broken where no driver can be."""

from __future__ import annotations

from drivetrain.contract import evolve
from mutants import (
    backends,
    batches,
    brokers,
    forks,
    limits,
    namespaces,
    one_store,
    others,
    policies,
    schedule_lives,
    schedule_rules,
    schedule_ticks,
    serializers,
    stored_values,
    urls,
    workflow_base,
    workflow_crashes,
    workflow_depth,
    workflow_ends,
    workflow_ids,
    workflow_rescue,
    workflow_retries,
    workflow_steps,
    workflows,
)
from mutants.quickest import QUICKEST

__all__ = ["ALL"]

#: Each has marked its own.
_MARKED = (
    schedule_ticks,
    schedule_rules,
    schedule_lives,
    limits,
    batches,
    workflow_crashes,
    workflow_depth,
    workflow_ends,
    workflow_ids,
    workflow_rescue,
    workflow_retries,
    workflow_steps,
)
_MADE = (
    *brokers.MUTANTS,
    *backends.MUTANTS,
    *stored_values.MUTANTS,
    *namespaces.MUTANTS,
    *forks.MUTANTS,
    *urls.MUTANTS,
    *others.MUTANTS,
    *serializers.MUTANTS,
    *policies.MUTANTS,
    *workflows.MUTANTS,
    *workflow_base.FOUND,
    *one_store.MUTANTS,
)

ALL = tuple(evolve(mutant, by=QUICKEST.get((mutant.clause, mutant.name), mutant.by)) for mutant in _MADE)
