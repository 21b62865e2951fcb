"""FIFO queues are certified by the suite, on LocalStack."""

import pytest

from drivetrain_contract_tests import BrokerContract, Service


@pytest.fixture(scope="session")
def broker_service(localstack):
    return Service(
        lambda namespace: localstack.url(namespace, fifo="true"), stop=localstack.stop, start=localstack.start
    )


class TestSqsFifoBrokerOnLocalStack(BrokerContract):
    patience_seconds = 300.0
    prompt_seconds = 2.5  # holds end, and delays are over, with a tick of a second
