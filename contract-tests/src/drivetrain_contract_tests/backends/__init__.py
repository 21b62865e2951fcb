"""The checks of a backend (clauses R…), by area."""

from __future__ import annotations

from drivetrain_contract_tests.backends.batches import BatchChecks
from drivetrain_contract_tests.backends.clocks import ClockChecks
from drivetrain_contract_tests.backends.deadlocks import DeadlockChecks
from drivetrain_contract_tests.backends.errors import ErrorChecks
from drivetrain_contract_tests.backends.forgetting import ForgettingChecks
from drivetrain_contract_tests.backends.forks import ForkChecks
from drivetrain_contract_tests.backends.groups import GroupChecks
from drivetrain_contract_tests.backends.leases import LeaseChecks
from drivetrain_contract_tests.backends.lifecycle import LifecycleChecks
from drivetrain_contract_tests.backends.listing import ListingChecks
from drivetrain_contract_tests.backends.races import RaceChecks
from drivetrain_contract_tests.backends.records import RecordChecks
from drivetrain_contract_tests.backends.restarts import RestartChecks
from drivetrain_contract_tests.backends.retention import RetentionChecks
from drivetrain_contract_tests.backends.state_machine import StateMachineChecks
from drivetrain_contract_tests.backends.transitions import TransitionChecks
from drivetrain_contract_tests.backends.waiting import WaitingChecks

__all__ = ["BackendContract"]


class BackendContract(
    LifecycleChecks,
    ErrorChecks,
    ForkChecks,
    TransitionChecks,
    LeaseChecks,
    RecordChecks,
    ListingChecks,
    WaitingChecks,
    GroupChecks,
    RetentionChecks,
    ForgettingChecks,
    BatchChecks,
    StateMachineChecks,
    ClockChecks,
    RaceChecks,
    DeadlockChecks,
    RestartChecks,
):
    """The contract of a backend. Needs a fixture ``backend_service`` that gives a `Service`."""
