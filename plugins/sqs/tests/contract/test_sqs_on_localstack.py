"""``sqs://`` is certified by the suite, on LocalStack."""

import pytest

from drivetrain_contract_tests import BrokerContract, Service


@pytest.fixture(scope="session")
def broker_service(at_length, localstack):
    return Service(localstack.url, stop=localstack.stop, start=localstack.start)


class TestSqsBrokerOnLocalStack(BrokerContract):
    patience_seconds = 300.0
    prompt_seconds = 2.5  # holds end, and delays are over, with a tick of a second
