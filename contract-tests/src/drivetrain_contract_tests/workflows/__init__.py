"""The checks of a pair of a broker and a backend (clauses W…), by area."""

from __future__ import annotations

from drivetrain_contract_tests.workflows.cancelling import Cancelling
from drivetrain_contract_tests.workflows.crash_points import Dying
from drivetrain_contract_tests.workflows.dropping import Dropping
from drivetrain_contract_tests.workflows.ending import RunResult
from drivetrain_contract_tests.workflows.execution import Playing
from drivetrain_contract_tests.workflows.nesting import Nesting
from drivetrain_contract_tests.workflows.one_store import OneStore
from drivetrain_contract_tests.workflows.outages import Outages
from drivetrain_contract_tests.workflows.pair import Pair
from drivetrain_contract_tests.workflows.refusing import Refusing
from drivetrain_contract_tests.workflows.rescuing import Rescuing
from drivetrain_contract_tests.workflows.restarts import Restarts
from drivetrain_contract_tests.workflows.retention import Keeping
from drivetrain_contract_tests.workflows.timing import Timing

__all__ = ["Pair", "WorkflowContract"]


class WorkflowContract(
    Playing,
    RunResult,
    Cancelling,
    Dropping,
    Timing,
    Dying,
    Outages,
    Keeping,
    Refusing,
    Nesting,
    Restarts,
    Rescuing,
    OneStore,
):
    """The contract of a pair. Needs fixtures ``broker_service`` and ``backend_service`` that each give a `Service`."""
