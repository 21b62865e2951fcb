"""The suite that certifies any driver of drivetrain. See the driver author's page in the docs."""

from drivetrain_contract_tests.brokers import BrokerContract
from drivetrain_contract_tests.clauses import clauses
from drivetrain_contract_tests.profiles import PROFILES, Profile
from drivetrain_contract_tests.service import Service

__all__ = ["PROFILES", "BrokerContract", "Profile", "Service", "clauses"]
