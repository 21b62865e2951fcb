"""`drivetrain.contract.hosts`: hosts and ports of URLs, and what can never work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import Host, read_hosts


@pytest.mark.parametrize(
    ("listed", "hosts"),
    [
        ("host", [Host("host", 7)]),
        ("a:1,b,[::1]:65535,[fe80::1%eth0]", [Host("a", 1), Host("b", 7), Host("::1", 65535), Host("fe80::1%eth0", 7)]),
        ("10.0.0.1:80", [Host("10.0.0.1", 80)]),
        ("my_redis-1.example.org.", [Host("my_redis-1.example.org.", 7)]),
        ("größe.example", [Host("größe.example", 7)]),
    ],
)
def test_hosts_are_read(listed, hosts):
    assert read_hosts(listed, port=7) == (tuple(hosts), [])


def test_a_name_may_be_left_out_where_there_is_a_usual_one():
    assert read_hosts("", port=7, name="localhost") == ((Host("localhost", 7),), [])
    assert read_hosts(":8", port=7, name="localhost") == ((Host("localhost", 8),), [])


@pytest.mark.parametrize(
    "port", ["0", "65536", "99999", "000080", "-1", "+1", "1.5", "abc", "", " 1", "٣", "1 ", "1:2"]
)
@pytest.mark.parametrize("host", ["host", "[::1]"])
def test_a_port_that_cannot_be_is_named(host, port):
    _, [fault] = read_hosts(f"{host}:{port}", port=7)
    assert repr(port) in fault
    assert "from 1 to 65535" in fault


@pytest.mark.parametrize(
    "host",
    ["a b", "a..b", ".a", "x" * 64, ".".join(["x" * 63] * 5), "a/b", "a@b", "[::g]", "[", "[]", "::1", "a\nb", "a\0"],
)
def test_a_host_that_cannot_be_is_named(host):
    _, faults = read_hosts(host, port=7)
    assert faults


@pytest.mark.parametrize("listed", ["", ":1", "a,", ",a", "a,,b"])
def test_an_empty_host_is_reported(listed):
    _, faults = read_hosts(listed, port=7)
    assert any("names no host" in fault for fault in faults)


def test_all_faults_are_reported():
    _, faults = read_hosts("a b:0,c:x,,d", port=7)
    assert len(faults) == 4


@given(st.text(max_size=20))
def test_whatever_is_read_can_be_connected_to(listed):
    hosts, faults = read_hosts(listed, port=7)
    if not faults:
        assert hosts
        assert all(host.name and 1 <= host.port <= 65535 and not set(host.name) & set(" /@,\n") for host in hosts)


@pytest.mark.parametrize(("host", "shown"), [(Host("a", 1), "a:1"), (Host("::1", 1), "[::1]:1")])
def test_a_host_is_shown_as_in_a_url(host, shown):
    assert str(host) == shown
    assert read_hosts(shown, port=7) == ((host,), [])
