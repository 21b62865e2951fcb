"""``redis://`` is certified by the suite, on a private Redis that keeps every write: restarts included."""

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
def broker_service(redis_server):
    def url(namespace):
        return f"{redis_server.url}/0?namespace={namespace}"

    return Service(url, stop=redis_server.process.kill, start=redis_server.process.start)


@pytest.fixture(scope="session")
def backend_service(broker_service):
    return broker_service


class TestRedisBroker(BrokerContract):
    pass


class TestRedisBackend(BackendContract):
    pass


class TestRedisValues(ValueContract):
    pass


class TestRedisLocks(LockContract):
    pass


class TestRedisWorkflows(WorkflowContract):
    pass
