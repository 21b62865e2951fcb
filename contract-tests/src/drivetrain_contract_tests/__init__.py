"""The suite that certifies any driver of drivetrain. See the driver author's page in the docs.

The names below are imported when they are first asked for: pytest loads this package in every run wherever it is
installed, and only a run that tests a driver shall pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from drivetrain_contract_tests.clauses import clauses

if TYPE_CHECKING:
    from drivetrain_contract_tests.backends import BackendContract
    from drivetrain_contract_tests.brokers import BrokerContract
    from drivetrain_contract_tests.locks import LockContract
    from drivetrain_contract_tests.profiles import PROFILES, Profile
    from drivetrain_contract_tests.retry_policies import PolicyUnderTest, RetryPolicyContract
    from drivetrain_contract_tests.serializers import SerializerContract
    from drivetrain_contract_tests.service import Service
    from drivetrain_contract_tests.values import ValueContract
    from drivetrain_contract_tests.workflows import Pair, WorkflowContract

__all__ = [
    "PROFILES",
    "BackendContract",
    "BrokerContract",
    "LockContract",
    "Pair",
    "PolicyUnderTest",
    "Profile",
    "RetryPolicyContract",
    "SerializerContract",
    "Service",
    "ValueContract",
    "WorkflowContract",
    "clauses",
]

_HOMES = {
    "PROFILES": "profiles",
    "BackendContract": "backends",
    "BrokerContract": "brokers",
    "LockContract": "locks",
    "Pair": "workflows",
    "PolicyUnderTest": "retry_policies",
    "Profile": "profiles",
    "RetryPolicyContract": "retry_policies",
    "SerializerContract": "serializers",
    "Service": "service",
    "ValueContract": "values",
    "WorkflowContract": "workflows",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
