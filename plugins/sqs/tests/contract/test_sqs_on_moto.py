"""``sqs://`` is certified by the suite, on moto."""

import pytest

from drivetrain_contract_tests import BrokerContract, Service


@pytest.fixture(scope="session")
def broker_service(moto):
    return Service(moto.url, stop=moto.stop, start=moto.start)


class TestSqsBrokerOnMoto(BrokerContract):
    patience_seconds = 300.0
    prompt_seconds = 1.5  # a long poll sees what is given back, or due, with its next tick of a second
