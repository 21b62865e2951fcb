"""The server of the tests of ``mongodb://``, and the service that the contract suite certifies."""

import itertools
import os

import pytest
from pymongo import common, monitoring
from pymongo.synchronous.topology import Topology

from drivetrain.contract import DriverContext
from drivetrain_contract_tests import Service
from drivetrain_mongo import make_backend
from services.mongodb import MongoServer

_numbers = itertools.count()


#: How long a client searches for a server that was stopped, and how often, in seconds. By default it searches as
#: long as for a slow one, and for half a second at least.
_STOPPED_SECONDS = 0.05


class Stoppable:
    """The server, and whether it was stopped."""

    def __init__(self, server):
        self.server = server
        self.stopped = False
        #: pymongo's own function for the time of a search.
        self.patient = Topology.get_server_selection_timeout

    def stop(self):
        self.stopped = True
        self.server.kill()

    def start(self):
        self.server.start()
        self.stopped = False


@pytest.fixture(scope="session")
def stoppable(tmp_path_factory):
    server = Stoppable(MongoServer(tmp_path_factory.mktemp("mongo")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common, "MIN_HEARTBEAT_INTERVAL", _STOPPED_SECONDS)
        patch.setattr(
            Topology,
            "get_server_selection_timeout",
            lambda topology: _STOPPED_SECONDS if server.stopped else server.patient(topology),
        )
        server.server.start()
        yield server
        server.server.kill()


@pytest.fixture(scope="session")
def mongo(stoppable):
    return stoppable.server


@pytest.fixture(scope="session")
def backend_service(stoppable):
    def url(namespace):
        return stoppable.server.url(namespace=namespace.replace("-", "_"))

    if not stoppable.server.stoppable:
        return Service(url)
    return Service(url, stop=stoppable.stop, start=stoppable.start)


@pytest.fixture
def namespace():
    return f"own_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def listeners():
    """Listeners to the commands of all clients that are made after one is added."""
    return []


@pytest.fixture
def make(mongo, namespace, listeners):
    """Makes backends of a fresh namespace; with options of the URL."""
    made = []

    def made_backend(**options):
        context = DriverContext(options={"event_listeners": list(listeners)})
        backend = make_backend(mongo.url(namespace=namespace, **options), context)
        made.append(backend)
        return backend

    yield made_backend
    for backend in made:
        backend.close()


@pytest.fixture
def collections(mongo, namespace):
    """The collections of that namespace, by name, for checks and for faults."""
    with mongo.client() as client:
        database = client["drivetrain"]
        names = ("records", "members", "bodies", "values")
        yield {name: database[f"drivetrain_{namespace}_{name}"] for name in names}


@pytest.fixture
def commands(listeners):
    """The names of the commands that clients send, if they are made from now on."""
    commands = Commands()
    listeners.append(commands)
    return commands.names


class Commands(monitoring.CommandListener):
    """Collects the names of commands."""

    def __init__(self):
        self.names = []

    def started(self, event):
        if event.command_name not in {"hello", "endSessions"}:
            self.names.append(event.command_name)

    def succeeded(self, event):
        """No test needs it."""

    def failed(self, event):
        """No test needs it."""
