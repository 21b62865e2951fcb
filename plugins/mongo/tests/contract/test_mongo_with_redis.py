"""Workflows whose messages are in Redis and whose states are in MongoDB."""

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


class TestRedisAndMongo(WorkflowContract):
    #: nx-27017 does one thing at a time, and many workflows are played at once: a worker's heartbeat may take a second.
    short_lease_seconds = 5.0
