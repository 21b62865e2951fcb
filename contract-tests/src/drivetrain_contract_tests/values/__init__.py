"""The checks of versioned values (clauses V…), by area."""

from __future__ import annotations

from drivetrain_contract_tests.values.batches import ValueBatchChecks
from drivetrain_contract_tests.values.expiry import ExpiryChecks
from drivetrain_contract_tests.values.listing import ValueListingChecks
from drivetrain_contract_tests.values.names import ValueNameChecks
from drivetrain_contract_tests.values.racing import ValueRaceChecks
from drivetrain_contract_tests.values.restarts import ValueRestartChecks
from drivetrain_contract_tests.values.state_machine import ValueMachineChecks
from drivetrain_contract_tests.values.upkeep import ValueUpkeepChecks
from drivetrain_contract_tests.values.versions import VersionChecks
from drivetrain_contract_tests.values.waiting import ValueWaitingChecks
from drivetrain_contract_tests.values.writing import WritingChecks

__all__ = ["ValueContract"]


class ValueContract(
    WritingChecks,
    VersionChecks,
    ExpiryChecks,
    ValueBatchChecks,
    ValueListingChecks,
    ValueNameChecks,
    ValueUpkeepChecks,
    ValueMachineChecks,
    ValueWaitingChecks,
    ValueRaceChecks,
    ValueRestartChecks,
):
    """The contract of a backend's versioned values. Needs a fixture ``backend_service`` that gives a `Service`."""
