"""What URLs say, and what is said of wrong ones: every fault, and no secret."""

from pathlib import Path

import pytest

from drivetrain.contract import ConfigurationError, Durability
from drivetrain_redis.options import Options


def test_a_bare_url():
    options = Options.parse("redis://localhost")
    assert (options.hosts, options.database, options.prefix) == ((("localhost", 6379),), 0, "drivetrain")
    assert (options.username, options.password, options.tls, options.cluster) == (None, None, False, False)
    assert options.durability is Durability.PROCESS


def test_all_that_a_url_of_one_server_may_say():
    url = "rediss://user:p%40ss%2F@example.org:7000/5?namespace=a.b-c:d&timeout_seconds=3&ssl_ca_certs=/ca.crt"
    url += "&ssl_certfile=/own.crt&ssl_keyfile=/own.key"
    options = Options.parse(f"{url}&ssl_cert_reqs=none&connect_timeout_seconds=0.5&durability=power&wait_replicas=1")
    assert (options.hosts, options.database) == ((("example.org", 7000),), 5)
    assert (options.username, options.password) == ("user", "p@ss/")
    assert (options.timeout_seconds, options.connect_timeout_seconds) == (3.0, 0.5)
    assert (options.prefix, options.durability, options.wait_replicas) == ("a.b-c:d", Durability.POWER, 1)
    assert (options.trusted, options.own_certificate, options.own_key) == ("/ca.crt", "/own.crt", "/own.key")
    assert (options.tls, options.certificate, options.checks_hostname) == (True, "none", False)
    assert "p@ss" not in repr(options)


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
        ("redis://:s3cret@host?ssl_ca_certs=a", ["'ssl_ca_certs'"]),
        ("redis://:s3cret@host?db=1", ["'db'"]),
        ("redis://:s3cret@host?namespace=%20a", ["namespace is ' a'"]),
        ("redis://:s3cret@host?timeout_seconds=0&durability=x", ["timeout_seconds", "durability"]),
        ("redis://:s3cret@host?wait_replicas=-1", ["wait_replicas"]),
        ("redis://:s3cret@host#x", ["%23"]),
        ("rediss://:s3cret@host?ssl_keyfile=a", ["ssl_certfile"]),
        ("rediss://:s3cret@host?ssl_cert_reqs=x&ssl_check_hostname=1", ["ssl_cert_reqs", "ssl_check_hostname"]),
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
    url = "rediss://host?ssl_ca_certs=ca.crt&ssl_certfile=/own.crt&ssl_keyfile=keys/own.key"
    options = Options.parse(url).in_directory(Path("/srv"))
    assert (options.trusted, options.own_certificate, options.own_key) == (
        "/srv/ca.crt",
        "/own.crt",
        "/srv/keys/own.key",
    )
    assert Options.parse("rediss://host").in_directory(Path("/srv")) == Options.parse("rediss://host")
