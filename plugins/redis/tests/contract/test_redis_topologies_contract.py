"""The same suite on Redis with a password, over TLS, over a unix socket, on a cluster, and behind sentinels."""

import pytest
from attrs import evolve

from drivetrain_contract_tests import BackendContract, BrokerContract, LockContract, Service
from drivetrain_contract_tests.profiles import PROFILES
from services.redis import Certificates, RedisSentinels, RedisServer


@pytest.fixture(scope="session")
def with_password(tmp_path_factory):
    password = "s3cret@/ü?"
    server = RedisServer(
        tmp_path_factory.mktemp("password"), durable=False, options=("--requirepass", password), password=password
    )
    server.process.start()
    yield Service(
        lambda name: f"redis://:s3cret%40%2F%C3%BC%3F@127.0.0.1:{server.port}/3?durability=none&namespace={name}"
    )
    server.process.kill()


@pytest.fixture(scope="session")
def over_tls(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    made = Certificates(directory / "certificates")
    server = RedisServer(
        directory, durable=False, options=made.options, listens=False, ssl=True, ssl_ca_certs=str(made.authority)
    )
    server.process.start()
    url = f"rediss://127.0.0.1:{server.port}/0?durability=none&ca_file={made.authority}"
    yield Service(lambda name: f"{url}&namespace={name}")
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
    """Where a class of checks is run: the name of one of the fixtures above. Quickly: the rules do not depend on it."""

    place: str

    @pytest.fixture(scope="class")
    @classmethod
    def broker_service(cls, request):
        return request.getfixturevalue(cls.place)

    @pytest.fixture(scope="class")
    @classmethod
    def backend_service(cls, request):
        return request.getfixturevalue(cls.place)

    @pytest.fixture(autouse=True)
    def _quickly(self, request):
        if request.config.getoption("--contract-profile") == "default":
            type(self).profile = evolve(PROFILES["quick"], seed=self.profile.seed)


class TestPasswordBroker(Elsewhere, BrokerContract):
    place = "with_password"


class TestPasswordBackend(Elsewhere, BackendContract):
    place = "with_password"


class TestTlsBroker(Elsewhere, BrokerContract):
    place = "over_tls"


class TestTlsBackend(Elsewhere, BackendContract):
    place = "over_tls"


class TestSocketBroker(Elsewhere, BrokerContract):
    place = "over_socket"


class TestSocketBackend(Elsewhere, BackendContract):
    place = "over_socket"


class TestClusterBroker(Elsewhere, BrokerContract):
    place = "on_cluster"


class TestClusterBackend(Elsewhere, BackendContract):
    place = "on_cluster"


class TestClusterLocks(Elsewhere, LockContract):
    place = "on_cluster"


class TestSentinelBroker(Elsewhere, BrokerContract):
    place = "behind_sentinels"


class TestSentinelBackend(Elsewhere, BackendContract):
    place = "behind_sentinels"
