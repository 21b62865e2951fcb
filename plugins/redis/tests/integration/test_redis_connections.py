"""The options of redis-py's connections, as a server sees them: credentials, protocol, name, health checks."""

import pytest
import redis

from drivetrain import App
from drivetrain.contract import AuthenticationFailed, DriverContext, Message, ServiceUnavailable
from drivetrain_redis import make_backend, make_broker
from services.redis import RedisSentinels


class Provider(redis.CredentialProvider):
    """Hands out the next password of a list at each connect, as one with short-lived tokens does."""

    def __init__(self, *passwords):
        self.passwords = list(passwords)

    def get_credentials(self):
        return "tokens", self.passwords.pop(0)


@pytest.fixture
def user(client):
    client.acl_setuser(
        "tokens", enabled=True, passwords=["+first"], keys=["*"], channels=["*"], commands=["+@all"], reset=True
    )
    yield
    client.acl_deluser("tokens")


def clients_named(client, name):
    return [each for each in client.client_list() if each["name"] == name]


def test_a_credential_provider_is_asked_at_each_connect(redis_server, prefix, client, user):
    provider = Provider("first", "second", "wrong")
    context = DriverContext(options={"credential_provider": provider})
    broker = make_broker(f"{redis_server.url}/0?namespace={prefix}&client_name={prefix}", context)
    broker.ping()
    assert [each["user"] for each in clients_named(client, prefix)] == ["tokens"]
    broker.close()
    client.acl_setuser("tokens", enabled=True, passwords=["+second", "-first"])
    broker.ping()
    broker.close()
    with pytest.raises(AuthenticationFailed, match="credential provider") as raised:
        broker.ping()
    assert "wrong'" not in str(raised.value)
    assert not provider.passwords


def test_an_app_hands_its_credential_provider_to_the_driver(redis_server, prefix, user):
    provider = Provider(*["first"] * 20)
    app = App(f"{redis_server.url}/0?namespace={prefix}", driver_options={"redis": {"credential_provider": provider}})

    @app.task
    def double(number: int) -> int:
        return 2 * number

    handle = double.send(4)
    app.worker().drain()
    assert handle.get(timeout=60) == 8
    app.close()
    assert len(provider.passwords) < 20


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_serve_a_worker_that_waits(redis_server, prefix, client, protocol):
    url = f"{redis_server.url}/0?namespace={prefix}&protocol={protocol}&client_name={prefix}"
    app = App(url)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    with app.worker(concurrency=2).start():
        assert [double.send(number).get(timeout=30) for number in range(20)] == [2 * number for number in range(20)]
        connections = clients_named(client, prefix)
        assert any(int(each["sub"]) for each in connections), "it waits by a subscription"
        assert {each["resp"] for each in connections} == {str(protocol)}
    app.close()
    broker, backend = make_broker(url, DriverContext()), make_backend(url, DriverContext())
    (queue,) = broker.queues()
    assert broker.sizes([queue])[queue].ready == 0
    assert backend.counts()["tasks"] == 20
    broker.close()
    backend.close()


def test_connections_are_named_drivetrain_by_default(url, client):
    broker = make_broker(url, DriverContext())
    before = len(clients_named(client, "drivetrain"))
    broker.ping()
    assert len(clients_named(client, "drivetrain")) == before + 1
    broker.close()


def test_an_idle_connection_is_checked_before_it_is_used(url, client):
    client.config_resetstat()
    for seconds, pings in ((0, 0), (0.000001, 2)):
        backend = make_backend(f"{url}&health_check_seconds={seconds}", DriverContext())
        backend.read(["t"])
        before = client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
        backend.read(["t"])
        backend.read(["t"])
        assert client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"] - before == pings
        backend.close()


def test_sentinels_that_know_no_such_master_are_named_without_secrets(tmp_path):
    sentinels = RedisSentinels(tmp_path)
    sentinels.start()
    try:
        url = sentinels.url.replace("://", "://:s3cret@").replace("mymaster", "another")
        broker = make_broker(f"{url}?sentinel_username=default", DriverContext())
        with pytest.raises(ServiceUnavailable, match="'another'") as raised:
            broker.publish([Message(id="m", queue="q", body=b"")])
        assert f"127.0.0.1:{sentinels.ports[0]}" in str(raised.value)
        assert "s3cret" not in str(raised.value)
    finally:
        sentinels.kill()
