"""The checks of a pair of a broker and a backend (clauses W…, T… and F…), by area."""

from __future__ import annotations

from drivetrain_contract_tests.workflows.batches import BatchChecks
from drivetrain_contract_tests.workflows.cancelling import CancellationChecks
from drivetrain_contract_tests.workflows.crash_points import CrashChecks
from drivetrain_contract_tests.workflows.dropping import DroppingChecks
from drivetrain_contract_tests.workflows.ending import EndingChecks
from drivetrain_contract_tests.workflows.execution import ExecutionChecks
from drivetrain_contract_tests.workflows.limits import LimitChecks
from drivetrain_contract_tests.workflows.nesting import NestingChecks
from drivetrain_contract_tests.workflows.one_store import OneStoreChecks
from drivetrain_contract_tests.workflows.outages import OutageChecks
from drivetrain_contract_tests.workflows.pair import Pair
from drivetrain_contract_tests.workflows.refusing import RefusalChecks
from drivetrain_contract_tests.workflows.rescuing import RescueChecks
from drivetrain_contract_tests.workflows.restarts import RestartChecks
from drivetrain_contract_tests.workflows.retention import RetentionChecks
from drivetrain_contract_tests.workflows.retrying import RetryChecks
from drivetrain_contract_tests.workflows.schedule_lives import ScheduleLifeChecks
from drivetrain_contract_tests.workflows.schedule_rules import ScheduleRuleChecks
from drivetrain_contract_tests.workflows.ticking import TickChecks
from drivetrain_contract_tests.workflows.timing import TimingChecks

__all__ = ["Pair", "WorkflowContract"]


class WorkflowContract(
    ExecutionChecks,
    EndingChecks,
    CancellationChecks,
    DroppingChecks,
    TimingChecks,
    CrashChecks,
    OutageChecks,
    RetentionChecks,
    RefusalChecks,
    NestingChecks,
    RestartChecks,
    RescueChecks,
    OneStoreChecks,
    RetryChecks,
    TickChecks,
    ScheduleRuleChecks,
    ScheduleLifeChecks,
    LimitChecks,
    BatchChecks,
):
    """The contract of a pair. Needs fixtures ``broker_service`` and ``backend_service`` that each give a `Service`."""
