"""The broker at ``--contract-broker``."""

from __future__ import annotations

from drivetrain_contract_tests import BrokerContract


class TestBroker(BrokerContract):
    """The contract of a broker."""
