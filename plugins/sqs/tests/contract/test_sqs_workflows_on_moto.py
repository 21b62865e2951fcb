"""Workflows on SQS, as moto imitates it, beside results in Redis."""

import pytest

from drivetrain_contract_tests import Service, WorkflowContract
from services.redis import RedisServer


@pytest.fixture(scope="session")
def broker_service(moto):
    return Service(moto.url, stop=moto.stop, start=moto.start)


@pytest.fixture(scope="session")
def backend_service(tmp_path_factory):
    pytest.importorskip("drivetrain_redis", reason="results in Redis need drivetrain-redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.process.start()
    yield Service(lambda namespace: f"{server.url}/0?namespace={namespace}")
    server.process.kill()


class TestSqsOnMotoAndRedisWorkflows(WorkflowContract):
    patience_seconds = 120.0
