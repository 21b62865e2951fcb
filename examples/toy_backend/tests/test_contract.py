"""The toy backend is held to drivetrain's contract."""

import pytest

from drivetrain_contract_tests import BackendContract, LockContract, Service, ValueContract


@pytest.fixture(scope="session")
def backend_service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("toy")
    return Service(lambda namespace: f"files://{directory}?namespace={namespace}")


class TestToyBackend(BackendContract):
    pass


class TestToyValues(ValueContract):
    pass


class TestToyLocks(LockContract):
    pass
