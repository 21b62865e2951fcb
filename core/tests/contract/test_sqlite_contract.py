"""``sqlite://`` is certified by the suite, as any driver is."""

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
def service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sqlite")
    return Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db")


@pytest.fixture(scope="session")
def broker_service(service):
    return service


@pytest.fixture(scope="session")
def backend_service(service):
    return service


class TestSqliteBroker(BrokerContract):
    pass


class TestSqliteBackend(BackendContract):
    pass


class TestSqliteValues(ValueContract):
    pass


class TestSqliteLocks(LockContract):
    pass


class TestSqliteWorkflows(WorkflowContract):
    pass
