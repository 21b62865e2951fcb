"""Servers for the tests of the memcache driver: one that is shared, and others that are broken on purpose."""

import pytest

from drivetrain.contract import DriverContext
from drivetrain_memcache import make_backend
from services.memcached import MemcachedServer


@pytest.fixture(scope="session")
def memcached(tmp_path_factory):
    """A server with room for all tests."""
    running = MemcachedServer(tmp_path_factory.mktemp("memcached"), options=("-m", "256"))
    running.process.start()
    yield running
    running.process.kill()


@pytest.fixture
def servers(tmp_path):
    """Starts more servers, with options of their own."""
    started = []

    def start(*options, path=None):
        server = MemcachedServer(tmp_path / str(len(started)), options=options, path=path)
        server.process.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.process.kill()


@pytest.fixture
def three(servers):
    """Three servers."""
    return [servers() for _ in range(3)]


@pytest.fixture
def backends():
    """Makes backends, and closes them."""
    made = []

    def make(url, **context):
        backend = make_backend(url, DriverContext(**context))
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()
