"""``memory://`` is certified by the suite, as any driver is."""

import pytest

from drivetrain_contract_tests import (
    BackendContract,
    BrokerContract,
    LockContract,
    Service,
    ValueContract,
    WorkflowContract,
)


@pytest.fixture(scope="session")
def broker_service():
    return Service(lambda namespace: f"memory://{namespace}")


@pytest.fixture(scope="session")
def backend_service():
    return Service(lambda namespace: f"memory://{namespace}")


class TestMemoryBroker(BrokerContract):
    pass


class TestMemoryBackend(BackendContract):
    pass


class TestMemoryValues(ValueContract):
    pass


class TestMemoryLocks(LockContract):
    pass


class TestMemoryWorkflows(WorkflowContract):
    pass
