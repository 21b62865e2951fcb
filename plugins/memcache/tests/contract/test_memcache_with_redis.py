"""Workflows whose messages are in Redis and whose states are in Memcached."""

import pytest

from drivetrain_contract_tests import Service, WorkflowContract
from services.redis import RedisServer


@pytest.fixture(scope="session")
def broker_service(at_length, tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.process.start()
    yield Service(
        lambda namespace: f"{server.url}/0?namespace={namespace}", stop=server.process.kill, start=server.process.start
    )
    server.process.kill()


@pytest.fixture(scope="session")
def backend_service(memcached):
    return Service(lambda namespace: f"{memcached.url}/?namespace={namespace}")


class TestRedisAndMemcache(WorkflowContract):
    pass
