"""The same suite on Redis over TLS with a password, over a unix socket, on a cluster, and behind sentinels."""

from collections.abc import Mapping

import pytest
from attrs import evolve

from drivetrain_contract_tests import BackendContract, BrokerContract, LockContract, Service, ValueContract
from drivetrain_contract_tests.profiles import PROFILES
from services.redis import Certificates, RedisSentinels, RedisServer


@pytest.fixture(scope="session")
def over_tls(tmp_path_factory):
    directory, password = tmp_path_factory.mktemp("tls"), "s3cret@/ü?"
    made = Certificates(directory / "certificates")
    server = RedisServer(
        directory,
        durable=False,
        options=(*made.options, "--requirepass", password),
        listens=False,
        ssl=True,
        ssl_ca_certs=str(made.authority),
        password=password,
    )
    server.process.start()
    address = f"rediss://:s3cret%40%2F%C3%BC%3F@127.0.0.1:{server.port}/3"
    yield Service(lambda name: f"{address}?durability=none&ca_file={made.authority}&namespace={name}")
    server.process.kill()


@pytest.fixture(scope="session")
def over_socket(tmp_path_factory):
    directory = tmp_path_factory.mktemp("s")
    path = str(directory / "r.sock")
    server = RedisServer(directory, durable=False, options=("--unixsocket", path), listens=False, unix_socket_path=path)
    server.process.start()
    yield Service(lambda name: f"unix://{path}?db=1&durability=none&namespace={name}")
    server.process.kill()


@pytest.fixture(scope="session")
def on_cluster(redis_cluster):
    return Service(lambda name: f"{redis_cluster.url}?durability=none&namespace={name}")


@pytest.fixture(scope="session")
def behind_sentinels(tmp_path_factory):
    sentinels = RedisSentinels(tmp_path_factory.mktemp("sentinels"))
    sentinels.start()
    yield Service(lambda name: f"{sentinels.url}?durability=none&namespace={name}")
    sentinels.kill()


class Elsewhere:
    """The fixture above with the service of a class of checks, and how much less is tried on it."""

    service: str
    #: For connections of another kind: the scripts and the rules are those that test_redis_contract.py certifies.
    less: Mapping[str, float] = {"examples": 4, "large": 300, "batch": 300, "races": 2, "seconds": 0.05}

    #: Whether the profile quick leaves these checks out: another class certifies the same connection.
    skipped_when_quick = False

    @pytest.fixture(scope="class")
    @classmethod
    def broker_service(cls, request):
        return request.getfixturevalue(cls.service)

    @pytest.fixture(scope="class")
    @classmethod
    def backend_service(cls, request):
        return request.getfixturevalue(cls.service)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _unless_quick(cls, request):
        if cls.skipped_when_quick and request.config.getoption("--contract-profile") == "quick":
            pytest.skip(f"the profile quick certifies {cls.service} by one class: --contract-profile default by all")

    @pytest.fixture(autouse=True)
    def _quickly(self, request):
        if request.config.getoption("--contract-profile") in {"quick", "default"}:
            type(self).profile = evolve(PROFILES["quick"], seed=self.profile.seed, **self.less)


class TestTlsBroker(Elsewhere, BrokerContract):
    service = "over_tls"
    skipped_when_quick = True


class TestTlsBackend(Elsewhere, BackendContract):
    service = "over_tls"


class TestSocketBroker(Elsewhere, BrokerContract):
    service = "over_socket"
    skipped_when_quick = True


class TestSocketBackend(Elsewhere, BackendContract):
    service = "over_socket"


class TestClusterBroker(Elsewhere, BrokerContract):
    service = "on_cluster"
    less = {}  # each slot has scripts and batches of its own


class TestClusterBackend(Elsewhere, BackendContract):
    service = "on_cluster"
    less = {}  # each slot has scripts and batches of its own


class TestClusterValues(Elsewhere, ValueContract):
    service = "on_cluster"


class TestClusterLocks(Elsewhere, LockContract):
    service = "on_cluster"


class TestSentinelBroker(Elsewhere, BrokerContract):
    service = "behind_sentinels"
    skipped_when_quick = True


class TestSentinelBackend(Elsewhere, BackendContract):
    service = "behind_sentinels"
