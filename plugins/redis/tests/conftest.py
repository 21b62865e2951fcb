"""A private Redis for all tests of this package, and a corner of it for each."""

from __future__ import annotations

import itertools
import os

import pytest

from drivetrain.contract import DriverContext
from drivetrain_redis import make_backend, make_broker
from services.redis import RedisCluster, RedisServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One that keeps every write; who stops it starts it again."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.process.start()
    yield server
    server.process.kill()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory):
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.kill()


@pytest.fixture
def prefix():
    return f"test-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def url(redis_server, prefix):
    return f"{redis_server.url}/0?namespace={prefix}"


@pytest.fixture
def client(redis_server):
    with redis_server.client() as client:
        yield client


@pytest.fixture
def broker(url):
    broker = make_broker(url, DriverContext())
    yield broker
    broker.close()


@pytest.fixture
def backend(url):
    backend = make_backend(url, DriverContext())
    yield backend
    backend.close()
