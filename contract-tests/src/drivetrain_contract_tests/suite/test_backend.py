"""The backend at ``--contract-backend``."""

from __future__ import annotations

from drivetrain_contract_tests import BackendContract, LockContract


class TestBackend(BackendContract):
    """The contract of a backend."""


class TestLocks(LockContract):
    """The contract of its locks."""
