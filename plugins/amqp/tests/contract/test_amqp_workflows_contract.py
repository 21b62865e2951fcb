"""The workflow contract on RabbitMQ, with results in SQLite and in Redis."""

import pytest

from drivetrain_contract_tests import Service, WorkflowContract
from services.redis import RedisServer


@pytest.fixture(scope="module")
def broker_service(service_on):
    return service_on()


class TestAmqpSqliteWorkflows(WorkflowContract):
    @pytest.fixture(scope="class")
    @classmethod
    def backend_service(cls, thorough, tmp_path_factory):
        directory = tmp_path_factory.mktemp("sqlite")
        return Service(lambda name: f"sqlite:///{directory}/{name}.db?synchronous=normal")


class TestAmqpRedisWorkflows(WorkflowContract):
    @pytest.fixture(scope="class")
    @classmethod
    def backend_service(cls, at_length, tmp_path_factory):
        pytest.importorskip("drivetrain_redis", reason="results in Redis need drivetrain-redis")
        server = RedisServer(tmp_path_factory.mktemp("redis"))
        server.process.start()
        yield Service(lambda name: f"{server.url}/0?namespace={name}")  # RabbitMQ is what is stopped here
        server.process.kill()
