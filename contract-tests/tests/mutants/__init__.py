"""Deliberately broken drivers, built over the in-memory ones."""

from __future__ import annotations

from mutants import backends, brokers, others, workflows

__all__ = ["ALL"]

ALL = (*brokers.MUTANTS, *backends.MUTANTS, *others.MUTANTS, *workflows.MUTANTS)
