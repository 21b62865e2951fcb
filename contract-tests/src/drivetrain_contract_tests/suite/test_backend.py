"""The backend at ``--contract-backend``."""

from __future__ import annotations

from drivetrain_contract_tests import BackendContract, LockContract, ValueContract


class TestBackend(BackendContract):
    """The contract of a backend."""


class TestValues(ValueContract):
    """The contract of its versioned values."""


class TestLocks(LockContract):
    """The contract of locks on its versioned values."""
