"""The toy driver is held to drivetrain's contract."""

import pytest

from drivetrain_contract_tests import BrokerContract, Service


@pytest.fixture(scope="session")
def broker_service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("toy")
    return Service(lambda namespace: f"toy://{directory}?namespace={namespace}")


class TestToyBroker(BrokerContract):
    pass
