"""The checks of a broker (clauses B…), by area."""

from __future__ import annotations

from drivetrain_contract_tests.brokers.admin import Looking
from drivetrain_contract_tests.brokers.batches import Batches
from drivetrain_contract_tests.brokers.dead_letters import DeadLetters
from drivetrain_contract_tests.brokers.delays import Delays
from drivetrain_contract_tests.brokers.fairness import Fairness
from drivetrain_contract_tests.brokers.forks import Forks
from drivetrain_contract_tests.brokers.holds import Holds
from drivetrain_contract_tests.brokers.lifecycle import Life
from drivetrain_contract_tests.brokers.machine import AnyProgram
from drivetrain_contract_tests.brokers.names import Names
from drivetrain_contract_tests.brokers.outages import Outages
from drivetrain_contract_tests.brokers.publishing import Publishing
from drivetrain_contract_tests.brokers.races import Races
from drivetrain_contract_tests.brokers.receiving import Receiving
from drivetrain_contract_tests.brokers.repetition import Repetition
from drivetrain_contract_tests.brokers.settling import Settling
from drivetrain_contract_tests.brokers.undeclared import Undeclared
from drivetrain_contract_tests.brokers.wakes import Wakes

__all__ = ["BrokerContract"]


class BrokerContract(
    Undeclared,
    Outages,
    Forks,
    Races,
    Life,
    AnyProgram,
    Repetition,
    Names,
    Batches,
    Wakes,
    Holds,
    Looking,
    Fairness,
    DeadLetters,
    Delays,
    Settling,
    Receiving,
    Publishing,
):
    """The contract of a broker. Needs a fixture ``broker_service`` that gives a `Service`.

    The suite tells by `prompt_seconds` and `patience_seconds` how fast things must be; an author whose service is far
    away may raise them, and nothing else.
    """
