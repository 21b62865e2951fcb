"""The options of URLs and of apps; errors name every fault, and no secret."""

from pathlib import Path

import pytest
import redis
from redis.connection import SSLConnection

from drivetrain.contract import ConfigurationError, Durability, TlsOptions
from drivetrain_redis.options import Options


def test_a_bare_url():
    options = Options.parse("redis://localhost")
    assert (options.hosts, options.database, options.prefix) == ((("localhost", 6379),), 0, "drivetrain")
    assert (options.username, options.password, options.tls, options.cluster) == (None, None, None, False)
    assert options.durability is Durability.PROCESS


def test_all_that_a_url_of_one_server_may_say():
    url = "rediss://user:p%40ss%2F@example.org:7000/5?namespace=a.b-c:d&call_timeout_seconds=3&ca_file=/ca.crt"
    url += "&cert_file=/own.crt&key_file=/own.key&ca_path=/cas&verify_ocsp=true&protocol=3&client_name=me"
    url += "&health_check_seconds=30&wait_replicas=1"
    options = Options.parse(f"{url}&verify=false&connect_timeout_seconds=0.5&durability=power")
    assert (options.hosts, options.database) == ((("example.org", 7000),), 5)
    assert (options.username, options.password) == ("user", "p@ss/")
    assert (options.call_timeout_seconds, options.connect_timeout_seconds) == (3.0, 0.5)
    assert (options.prefix, options.durability, options.wait_replicas) == ("a.b-c:d", Durability.POWER, 1)
    assert options.tls == TlsOptions(ca_file="/ca.crt", cert_file="/own.crt", key_file="/own.key", verify=False)
    assert "p@ss" not in repr(options)
    arguments = options.connection_arguments()
    assert arguments == {
        "db": 5, "username": "user", "password": "p@ss/", "client_name": "me", "protocol": 3,
        "socket_timeout": 3.0, "socket_connect_timeout": 0.5, "socket_read_size": 65536, "socket_keepalive": True,
        "health_check_interval": 30.0, "ssl_ca_certs": "/ca.crt", "ssl_ca_path": "/cas", "ssl_validate_ocsp": True,
        "ssl_certfile": "/own.crt", "ssl_keyfile": "/own.key", "ssl_cert_reqs": "none", "ssl_check_hostname": False,
    }  # fmt: skip
    SSLConnection(**arguments)  # redis-py knows all of these names


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://", (("localhost", 6379),)),
        ("redis://:7", (("localhost", 7),)),
        ("redis://[::1]:7", (("::1", 7),)),
        ("redis+cluster://a,b:7,[::1]", (("a", 6379), ("b", 7), ("::1", 6379))),
        ("redis+sentinel://a:1,b/mymaster/2", (("a", 1), ("b", 26379))),
    ],
)
def test_hosts(url, hosts):
    assert Options.parse(url).hosts == hosts


def test_sentinels():
    options = Options.parse("redis+sentinel://u:p@a,b/mymaster/2?sentinel_password=s")
    assert (options.master, options.database, options.password) == ("mymaster", 2, "p")
    assert (options.sentinel_username, options.sentinel_password) == (None, "s")


@pytest.mark.parametrize("scheme", ["unix", "redis+socket"])
def test_sockets(scheme):
    options = Options.parse(f"{scheme}:///run/redis.sock?db=3")
    assert (options.socket, options.hosts, options.database) == ("/run/redis.sock", (), 3)
    assert Options.parse(f"{scheme}://:p@/run/redis.sock").password == "p"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:s3cret@host/x", ["number", "'x'"]),
        ("redis://:s3cret@host/0/1", ["path"]),
        ("redis://:s3cret@a,b", ["several hosts", "redis+cluster://"]),
        ("redis://:s3cret@ho st", ["'ho st'"]),
        ("redis://:s3cret@host:port", ["'port'"]),
        ("redis://:s3cret@host:0", ["'0'"]),
        ("redis://:s3cret@host:99999", ["'99999'"]),
        ("redis+cluster://:s3cret@a:70000,b:0", ["'70000'", "'0'"]),
        ("redis://:s3cret@[::g]", ["'[::g]'"]),
        ("redis://:s3cret@host/-1", ["'-1'"]),
        ("redis://:s3cret@host/99999999999", ["'99999999999'"]),
        ("redis://:s3cret/x@host:1/0", ["%2F"]),
        ("redis://:s3cret?x@host:1/0", ["%3F"]),
        ("redis://:x#s3cret@host:1/0", ["%23"]),
        ("redis://:s3cret@host?namspace=a", ["'namspace'", "'namespace'"]),
        ("redis://:s3cret@host?prefix=a", ["'prefix'", "namespace"]),
        ("redis://:s3cret@host?ca_file=a", ["so ca_file cannot be used", "rediss://"]),
        ("redis://:s3cret@host?db=1", ["'db'"]),
        ("redis://:s3cret@host?namespace=%20a", ["namespace is ' a'"]),
        ("redis://:s3cret@host?call_timeout_seconds=0&durability=x", ["call_timeout_seconds", "durability"]),
        ("redis://:s3cret@host?wait_replicas=-1", ["wait_replicas"]),
        ("redis://:s3cret@host#x", ["%23"]),
        ("rediss://:s3cret@host?key_file=a", ["cert_file"]),
        ("rediss://:s3cret@host?verify=x&verify_hostname=1", ["verify is", "verify_hostname"]),
        ("redis://:s3cret@host?protocol=4&client_name=a%20b", ["protocol", "2 or 3", "client_name", "without spaces"]),
        ("redis+sentinel://:s3cret@host", ["name the master"]),
        ("redis+cluster://:s3cret@host/1", ["database 0 only"]),
        ("unix://:s3cret@run/redis.sock", ["names a host"]),
        ("unix://", ["names no socket"]),
    ],
)
def test_every_fault_is_named_and_no_secret(url, words):
    with pytest.raises(ConfigurationError) as raised:
        Options.parse(url)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_relative_paths_begin_in_the_directory_of_the_app():
    url = "rediss://host?ca_file=ca.crt&cert_file=/own.crt&key_file=keys/own.key&ca_path=cas"
    options = Options.parse(url).in_directory(Path("/srv"))
    assert options.tls == TlsOptions(ca_file="/srv/ca.crt", cert_file="/own.crt", key_file="/srv/keys/own.key")
    assert options.ca_path == "/srv/cas"
    assert Options.parse("rediss://host").in_directory(Path("/srv")) == Options.parse("rediss://host")


class Provider(redis.CredentialProvider):
    def get_credentials(self):
        return "user", "s3cret"


def test_an_app_passes_what_no_url_can_hold():
    passed = {"credential_provider": Provider(), "ssl_ca_data": "PEM", "ssl_ciphers": "HIGH", "ssl_password": "s3cret"}
    options = Options.parse("rediss://host", driver_options=passed)
    assert passed.items() <= options.connection_arguments().items()
    assert "s3cret" not in repr(options)
    SSLConnection(**options.connection_arguments())
    plain = Options.parse("redis://host", driver_options=passed).connection_arguments()
    assert plain["credential_provider"] is passed["credential_provider"]
    assert not [name for name in plain if name.startswith("ssl")]
    sentinel = Options.parse("rediss+sentinel://host/m", driver_options=passed).sentinel_arguments()
    assert sentinel["ssl_ca_data"] == "PEM"
    assert "credential_provider" not in sentinel, "it is that of the server"


@pytest.mark.parametrize(
    ("url", "passed", "words"),
    [
        ("redis://host", {"credentials_provider": Provider()}, ["'credentials_provider'", "'credential_provider'"]),
        ("redis://host", {"x": "s3cret"}, ["'x'", "ssl_ca_data"]),
        ("redis://host", {"credential_provider": "s3cret"}, ["get_credentials"]),
        ("redis://:s3cret@host", {"credential_provider": Provider()}, ["use one of them"]),
    ],
)
def test_every_fault_of_driver_options_is_named_and_no_secret(url, passed, words):
    with pytest.raises(ConfigurationError) as raised:
        Options.parse(url, driver_options=passed)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://localhost", "redis://:secret@LocalHost:6379/0?namespace=drivetrain"),
        ("redis+sentinel://a:1,b:2/main", "redis+sentinel://B:2,a:1/main"),
    ],
)
def test_urls_of_one_place_have_one_store(one, other):
    """Core records and publishes in one step only where broker and backend declare the same store."""
    assert Options.parse(one).store == Options.parse(other).store


def test_other_places_have_other_stores():
    urls = ["redis://a", "redis://b", "redis://a:1", "redis://a/1", "redis://a?namespace=b", "redis+sentinel://a/main"]
    assert len({Options.parse(url).store for url in urls}) == len(urls)
