"""One RabbitMQ for each process that runs tests, because some tests stop it; and brokers on it."""

import os
import subprocess
import uuid

import pytest

from drivetrain.contract import DriverContext
from drivetrain_amqp import make_broker
from drivetrain_contract_tests import Service
from services.processes import NotStarted
from services.rabbitmq import RabbitServer

#: So that a consumer timeout of two seconds is noticed after two seconds, and not after a minute.
_ADVANCED = ["{channel_tick_interval,500}"]

_CERTIFICATES = (
    "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt",
    "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
    "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    "req -newkey rsa:2048 -nodes -subj /CN=worker -keyout client.key -out client.csr",
    "x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out client.crt",
)


@pytest.fixture(scope="session")
def thorough(request):
    """What is run in the profile thorough, or with ``CONTRACT_AMQP_ALL=1``: each costs a minute or more."""
    if request.config.getoption("--contract-profile") != "thorough" and "CONTRACT_AMQP_ALL" not in os.environ:
        pytest.skip("run in the profile thorough, or with CONTRACT_AMQP_ALL=1")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for arguments in _CERTIFICATES:
        subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)
    return directory


#: Another process may take a free port before RabbitMQ does. Then a new server gets other ports.
_STARTS = 3


@pytest.fixture(scope="session")
def start_rabbit(tmp_path_factory, certificates):
    """Starts a RabbitMQ with TLS, after ``prepare`` has changed the files in its directory."""
    running = []

    def start(prepare=lambda directory: None, *, starts=_STARTS, **options):
        directory = tmp_path_factory.mktemp("rabbit")
        server = RabbitServer(directory, certificates=certificates, **options)
        prepare(directory)
        running.append(server)
        try:
            server.start()
        except NotStarted:
            if starts <= 1:
                raise
            return start(prepare, starts=starts - 1, **options)
        return server

    yield start
    for each in running:
        each.end()


@pytest.fixture(scope="session")
def rabbit(start_rabbit):
    return start_rabbit(advanced=_ADVANCED)


class _Namespaces:
    """Makes URLs of namespaces, and deletes the queues of earlier ones, each of which makes a start take longer."""

    def __init__(self, rabbit, options):
        self._rabbit, self._options, self._recent = rabbit, options, []

    def url(self, name):
        if name not in self._recent:
            self._recent = [*self._recent[-3:], name]
        return self._rabbit.url(options=f"namespace={name}{self._options}")

    def crash(self):
        """Kill the node. A moment after the last call: RabbitMQ writes acknowledgements down when a queue is idle."""
        self._rabbit.drop_queues(lambda queue: not queue.startswith(tuple(f"{name}~" for name in self._recent)))
        self._rabbit.kill()


@pytest.fixture(scope="session")
def service_on(rabbit):
    """Makes what the suite needs to know of this RabbitMQ, for URLs with more options."""

    def make(options=""):
        namespaces = _Namespaces(rabbit, options)
        return Service(namespaces.url, stop=namespaces.crash, start=rabbit.start)

    return make


@pytest.fixture
def namespace():
    """A namespace of its own for each test."""
    return f"n{uuid.uuid4().hex[:10]}"


@pytest.fixture
def make(namespace):
    """Makes brokers for the URL of a server, and closes them."""
    made = []

    def make_one(url, options=""):
        made.append(make_broker(f"{url}?namespace={namespace}{options}", DriverContext()))
        return made[-1]

    yield make_one
    for broker in made:
        broker.close()
