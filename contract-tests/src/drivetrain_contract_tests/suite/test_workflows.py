"""Workflows on the pair of ``--contract-broker`` and ``--contract-backend``."""

from __future__ import annotations

from drivetrain_contract_tests import WorkflowContract


class TestWorkflows(WorkflowContract):
    """The contract of a pair."""
