"""Workflows on SQS, as LocalStack imitates it, beside results in Redis."""

import pytest

from drivetrain_contract_tests import Service, WorkflowContract
from services.redis import RedisServer


@pytest.fixture(scope="session")
def broker_service(at_length, localstack):
    return Service(localstack.url, stop=localstack.stop, start=localstack.start)


@pytest.fixture(scope="session")
def backend_service(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.process.start()
    yield Service(lambda namespace: f"{server.url}/0?namespace={namespace}")
    server.process.kill()


class TestSqsAndRedisWorkflows(WorkflowContract):
    patience_seconds = 120.0
