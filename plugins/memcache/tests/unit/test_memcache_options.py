"""The options of the memcache driver: URLs, driver options, and where keys go."""

import ssl
from pathlib import Path

import pytest
from pymemcache.client.base import KeepaliveOpts

from drivetrain.contract import ConfigurationError, DriverContext, TlsOptions
from drivetrain_memcache import make_backend
from drivetrain_memcache.connection import Servers
from drivetrain_memcache.options import Options, Server

# URLs


def test_a_url_names_hosts_or_a_socket():
    options = Options.parse("memcache://Cache1,10.0.0.2:11212,[::1]:7/?namespace=shop&call_timeout_seconds=0.5")
    assert options.servers == (Server("cache1", 11211), Server("10.0.0.2", 11212), Server("::1", 7))
    assert (options.prefix, options.call_timeout_seconds) == ("shop", 0.5)
    assert Options.parse("memcache:///run/memcached.sock").servers[0].path == "/run/memcached.sock"


def test_relative_paths_begin_in_the_directory_of_the_app():
    options = Options.parse("memcache://a?tls=true&ca_file=ca.crt&cert_file=/etc/me.crt&key_file=me.key")
    assert options.in_directory(Path("/srv")).tls == TlsOptions(
        ca_file="/srv/ca.crt", cert_file="/etc/me.crt", key_file="/srv/me.key"
    )
    assert Options.parse("memcache://a").in_directory(Path("/srv")) == Options.parse("memcache://a")


def test_user_and_password_may_hold_any_character_and_are_not_shown():
    options = Options.parse("memcache://us%3Aer:p%40ss%2F@host")
    assert (options.user, options.password) == ("us:er", "p@ss/")
    assert "p@ss/" not in repr(options)


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("memcache://", ["names no server"]),
        ("memcache://a,a:11211", ["a server twice"]),
        ("memcache://a,,b c", ["names no host", "its host is 'b c'"]),
        (f"memcache://a..b,{'x' * 64}.c", ["its host is 'a..b'", "x.c'"]),
        ("memcache://a:0,b:x", ["the port of 'a:0' is '0'", "the port of 'b:x' is 'x'"]),
        (f"memcache:///run/{'x' * 107}", ["more than 107 bytes"]),
        ("memcache:///run/socket?tls=true", ["TLS over a Unix socket"]),
        ("memcache://a/3", ["has a path"]),
        ("memcache://user@a", ["only one"]),
        ("memcache://u:p%20w@a", ["a space"]),
        ("memcache://a?namespace=&call_timeout=1", ["namespace is ''", "did you mean 'call_timeout_seconds'"]),
        (
            "memcache://a?call_timeout_seconds=0&item_bytes=1&largest_value_bytes=x",
            ["is '0'", "item_bytes", "largest_"],
        ),
        ("memcache://a?tls=yes&ca_file=/x", ["use true or false", "write tls=true"]),
        ("memcache://a?tls=true&key_file=/x", ["cert_file"]),
        ("memcache://a#b", ["#"]),
    ],
)
def test_every_fault_of_a_url_is_named(url, faults):
    with pytest.raises(ConfigurationError) as raised:
        Options.parse(url)
    assert len(raised.value.faults) == len(faults)
    for fault, words in zip(raised.value.faults, faults, strict=True):
        assert words in fault
    assert "p%20w" not in str(raised.value)


# Driver options


def test_objects_that_no_url_can_hold_come_as_driver_options():
    context, keepalive = ssl.create_default_context(), KeepaliveOpts(idle=30)
    options = Options.parse("memcache://a", driver_options={"tls_context": context, "socket_keepalive": keepalive})
    assert options.tls_context is context
    assert options.socket_keepalive is keepalive


@pytest.mark.parametrize(
    ("url", "driver_options", "words"),
    [
        ("memcache://a", {"tls_contxt": 1}, "did you mean 'tls_context'"),
        ("memcache://a", {"pool": 1}, "use socket_keepalive, tls_context"),
        ("memcache://a", {"tls_context": "s3cret"}, "use an ssl.SSLContext"),
        ("memcache://a", {"socket_keepalive": True}, "KeepaliveOpts"),
        ("memcache://a?tls=true", {"tls_context": ssl.create_default_context()}, "only one of them"),
        ("memcache:///run/socket", {"tls_context": ssl.create_default_context()}, "over a Unix socket"),
        ("memcache:///run/socket", {"socket_keepalive": KeepaliveOpts()}, "Unix socket does not support"),
    ],
)
def test_a_wrong_driver_option_is_refused_and_its_value_not_shown(url, driver_options, words):
    with pytest.raises(ConfigurationError) as raised:
        make_backend(url, DriverContext(options=driver_options))
    assert words in str(raised.value)
    assert "s3cret" not in str(raised.value)


# Where keys go


def test_keys_stay_on_their_server_when_one_is_added_but_for_its_share():
    few = Servers(Options.parse("memcache://a,b,c"))
    more = Servers(Options.parse("memcache://d,c,b,a"))
    owners = [f"task-{number}" for number in range(3_000)]
    moved = [owner for owner in owners if few.server_of(owner) != more.server_of(owner)]
    assert {more.server_of(owner) for owner in moved} == {"d:11211"}
    assert 500 < len(moved) < 1_000
    assert {few.server_of(owner) for owner in owners} == {"a:11211", "b:11211", "c:11211"}


def test_the_order_of_the_servers_does_not_matter():
    one, other = Servers(Options.parse("memcache://a,b,c")), Servers(Options.parse("memcache://c,a,b"))
    assert all(one.server_of(str(number)) == other.server_of(str(number)) for number in range(300))
