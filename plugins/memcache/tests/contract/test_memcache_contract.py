"""``memcache://`` is certified by the suite, as any driver is, on a real server that goes away and comes back."""

import pytest

from drivetrain_contract_tests import BackendContract, LockContract, Service, ValueContract, WorkflowContract
from services.memcached import MemcachedServer


@pytest.fixture(scope="session")
def broker_service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sqlite")
    return Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db")


@pytest.fixture(scope="session")
def backend_service(tmp_path_factory):
    server = MemcachedServer(tmp_path_factory.mktemp("memcached"), options=("-m", "256"))
    server.process.start()
    yield Service(
        lambda namespace: f"{server.url}/?namespace={namespace}", stop=server.process.kill, start=server.process.start
    )
    server.process.kill()


class TestMemcacheBackend(BackendContract):
    pass


class TestMemcacheValues(ValueContract):
    pass


class TestMemcacheLocks(LockContract):
    pass


class TestMemcacheWorkflows(WorkflowContract):
    pass
