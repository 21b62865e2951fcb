"""The memcache driver on real servers: several, full, with a password, over TLS or a Unix socket."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from pymemcache.client.base import KeepaliveOpts

from drivetrain.contract import (
    AuthenticationFailed,
    Group,
    NotSupported,
    ServiceRefused,
    ServiceUnavailable,
    State,
    SystemClock,
)
from drivetrain_memcache.group_completion import LARGEST_GROUP, SHARD
from drivetrain_memcache.keys import Keys, Kind
from services.redis import Certificates
from support.memcache import done, error_of, keys_of, parts, transition, url_of

DAY = 86_400.0


# Several servers


def test_several_servers_share_the_keys_and_each_owner_has_one(three, backends):
    backend = backends(url_of(*three))
    names = [f"t{number}" for number in range(300)]
    backend.record([transition(name, payload=name.encode()) for name in names])
    assert [found.payload for found in backend.read(names)] == [name.encode() for name in names]
    assert backend.counts()["tasks"] == 300
    alone = [backends(url_of(server)).counts()["tasks"] for server in three]
    assert sum(alone) == 300
    assert min(alone) > 50


def test_one_server_holds_all_items_of_a_group(three, backends):
    backend = backends(url_of(*three))
    backend.open_groups([Group(group_id=f"g{number}", size=5) for number in range(9)])
    answers = backend.complete([done(index, group_id=f"g{number}") for number in range(9) for index in range(5)])
    assert [progress.complete for progress in answers] == [False, False, False, False, True] * 9
    for server in three:
        alone = backends(url_of(server)).counts()
        assert alone["members"] == 5 * alone["groups"]


# What does not fit


@pytest.mark.parametrize("size", [1_000_000, 1024 * 1024 - 2_100, 1024 * 1024, 1024 * 1024 + 1, 5_000_000])
def test_values_around_and_beyond_the_largest_item_are_kept(memcached, backends, size):
    backend = backends(url_of(memcached, prefix=f"large-{size}"))
    payload = os.urandom(1_000) * (size // 1_000) + bytes(size % 1_000)
    backend.record([transition("t", State.PENDING, payload=payload, downstream=payload)])
    backend.store_bodies({"b": payload})
    backend.open_groups([Group(group_id="g", size=1, continuation=payload)])
    backend.complete([done(0, payload)])
    (record,), (group,) = backend.read(["t"]), backend.read_groups(["g"])
    assert (record.payload, record.downstream, group.continuation) == (payload, payload, payload)
    assert backend.load_bodies(["b"]) == [payload]
    assert backend.read_members("g") == [payload]
    assert backend.counts() == {"tasks": 1, "groups": 1, "members": 1, "bodies": 1, "values": 0}


def test_a_large_value_that_is_replaced_leaves_no_parts(memcached, backends):
    backend = backends(url_of(memcached, prefix="parts"))
    for size in (3_000_000, 2_500_000, 10):
        backend.store_bodies({"b": bytes(size)})
    backend.record([transition("t", State.PENDING, payload=bytes(3_000_000))])
    backend.record([transition("t", State.SUCCESS, payload=b"")])
    assert parts(backend) == []
    backend.store_bodies({"b": bytes(3_000_000)})
    assert len(parts(backend)) == 3
    backend.drop_bodies(["b"])
    assert parts(backend) == []


def test_a_reader_of_a_large_value_that_changes_sees_one_or_the_other(memcached, backends):
    url, over = url_of(memcached, prefix="torn"), threading.Event()
    writer, reader = backends(url), backends(url)
    values = [bytes([number]) * (1_100_000 + number) for number in range(3)]
    writer.store_bodies({"b": values[0]})

    def write():
        for number in range(30):
            writer.store_bodies({"b": values[number % 3]})
        over.set()

    writing = threading.Thread(target=write)
    writing.start()
    seen = []
    while not over.is_set():
        with suppress(ServiceUnavailable):  # it was changed during every read
            seen.append(reader.load_bodies(["b"])[0] in values)
    writing.join()
    assert all(seen)
    assert reader.load_bodies(["b"])[0] in values


def test_a_server_with_smaller_items_than_the_url_says_is_refused_before_anything_is_lost(servers, backends):
    small = servers("-I", "128k", "-o", "slab_chunk_max=65536")
    error = error_of(lambda: backends(url_of(small)).record([transition("t")]))
    assert isinstance(error, ServiceRefused)
    assert "item_bytes=131072" in str(error)
    backend = backends(url_of(small, item_bytes=131_072))
    backend.record([transition("t", payload=bytes(500_000))])
    assert backend.read(["t"])[0].payload == bytes(500_000)


def test_a_full_server_that_evicts_nothing_refuses_writes_and_keeps_its_items(servers, backends):
    full = servers("-m", "8", "-M")
    backend = backends(url_of(full))
    backend.record([transition("before", State.PENDING, payload=b"before")])
    backend.store_bodies({"before": b"before"})
    error = error_of(lambda: [backend.store_bodies({str(number): bytes(500_000)}) for number in range(40)])
    assert isinstance(error, ServiceRefused)
    assert "-m" in str(error)
    with pytest.raises(ServiceRefused):
        backend.store_bodies({"before": bytes(2_000_000)})
    with pytest.raises(ServiceRefused):
        backend.record([transition("before", payload=bytes(2_000_000))])
    assert backend.load_bodies(["before"]) == [b"before"]
    assert backend.read(["before"])[0].payload == b"before"


def test_a_server_without_cas_is_refused(servers, backends):
    error = error_of(lambda: backends(url_of(servers("-C"))).record([transition("t")]))
    assert isinstance(error, ServiceRefused)
    assert "without -C" in str(error)


def test_a_server_that_lists_no_keys_works_and_cannot_be_counted(servers, backends):
    backend = backends(url_of(servers("-X")))
    assert backend.record([transition("t")])[0].applied
    assert isinstance(error_of(backend.counts), ServiceRefused)
    assert backend.read(["t"])[0] is not None


@pytest.mark.parametrize("end", ["forget", "settle"])
def test_members_beyond_the_largest_item_leave_no_parts(memcached, backends, end):
    """A server with -M, which drops nothing by itself, would keep them for ever."""
    backend = backends(url_of(memcached, prefix=f"parts-of-{end}"))
    backend.open_groups([Group(group_id="g", size=3)])
    backend.complete([done(0, b"small"), done(2, b"x" * 2_500_000)])
    names = [name for name in keys_of(backend, memcached) if backend._keys.is_kind(Kind.PART, name)]
    assert len(names) == 3
    if end == "forget":
        backend.forget(["g"])
        assert keys_of(backend, memcached) == []
    else:
        backend.record([transition("g", retention=1_000.0)])
        (ends,) = ends_of(backend, names)
        assert ends != -1
        assert backend.read_members("g") == [b"small", None, b"x" * 2_500_000]


def test_an_end_takes_all_of_a_group_with_it(memcached, backends):
    backend = backends(url_of(memcached, prefix="ends"))
    backend.open_groups([Group(group_id="g", size=50)])
    backend.complete([done(index) for index in range(50)])
    tag = backend._entries.read(["g"])["g"].group.tag
    names = [backend._keys.numbered(Kind.MEMBER, "g", tag, index).name for index in range(50)]
    names.append(backend._keys.numbered(Kind.SHARD, "g", tag, 0).name)
    assert ends_of(backend, names) == {-1}
    backend.record([transition("g", retention=1_000.0)])
    (end,) = ends_of(backend, names)
    assert 995 < end - SystemClock().now() < 1_015
    backend.shorten_retention(["g"], retention_seconds=0.0)
    assert ends_of(backend, names) == set()


@pytest.mark.parametrize("retention", [0.2, 59.0, 30 * DAY - 60, 30 * DAY + 60, 365 * DAY])
def test_the_server_drops_a_record_after_its_end_and_not_long_after(memcached, backends, retention):
    backend = backends(url_of(memcached, prefix=f"ttl-{retention}"))
    backend.record([transition("t", retention=retention), transition("for ever")])
    (end,) = ends_of(backend, [Keys(f"ttl-{retention}").named(Kind.ENTRY, "t").name])
    assert 0 <= end - backend.read(["t"])[0].expires_at < 5 if retention > 1 else end < SystemClock().now() + 5
    assert ends_of(backend, [Keys(f"ttl-{retention}").named(Kind.ENTRY, "for ever").name]) == {-1}


def ends_of(backend, names):
    """When the server drops these, of those that it has; -1: never."""
    (server,) = backend._servers.names
    ends = {}
    for line in backend._servers._lines(server, b"lru_crawler metadump hash"):
        words = dict(word.split(b"=", 1) for word in line.split())
        ends[words[b"key"].replace(b"%3A", b":").replace(b"%23", b"#")] = int(words[b"exp"])
    return {ends[name] for name in names if name in ends}


# Groups of any size


def test_a_group_of_several_shards_completes(memcached, backends):
    backend, size = backends(url_of(memcached, prefix="shards")), 2 * SHARD + 10
    backend.open_groups([Group(group_id="g", size=size)])
    ends = [0, SHARD - 1, SHARD, 2 * SHARD, size - 1]
    answers = backend.complete([done(index, b"%d" % index) for index in [*ends, 0, size, -1]])
    assert [progress.done for progress in answers] == [1, 2, 3, 4, 5, 5, 5, 5]
    found = backend.read_members("g")
    assert {index: payload for index, payload in enumerate(found) if payload is not None} == {
        index: b"%d" % index for index in ends
    }
    (progress,) = backend.complete([done(1, failed=True)])
    assert (progress.done, progress.failed) == (6, True)
    assert backend.read_groups(["g"])[0].failed


def test_a_group_beyond_the_limit_is_refused_with_the_limit(memcached, backends):
    error = error_of(lambda: backends(url_of(memcached)).open_groups([Group(group_id="g", size=LARGEST_GROUP + 1)]))
    assert isinstance(error, ServiceRefused)
    assert str(LARGEST_GROUP) in str(error)


def test_of_two_ends_of_a_member_the_first_decides_whether_it_has_failed(memcached, backends):
    """The payload was stored, and before the bit was set the finisher died: the next one goes on from there."""
    backend = backends(url_of(memcached, prefix="first"))
    backend.open_groups([Group(group_id="g", size=1)])
    tag = backend._entries.read(["g"])["g"].group.tag
    client = memcached.client()
    client.add(backend._keys.numbered(Kind.MEMBER, "g", tag, 0).name, b"wffailure")
    client.close()
    assert backend.read_members("g") == [None]
    (progress,) = backend.complete([done(0, b"value")])
    assert (progress.done, progress.failed) == (1, True)
    assert backend.read_members("g") == [b"failure"]


# Connections


_FORKS = """
import os, sys
from drivetrain.contract import DriverContext, State, Transition
from drivetrain_memcache import make_backend

backend = make_backend(sys.argv[1], DriverContext())
names = ["parent", "child"]
backend.record([Transition(task_id=name, state=State.SUCCESS, at=1.0, payload=name.encode()) for name in names])
child = os.fork()
mine = names[child == 0]
for _ in range(300):
    assert backend.read([mine])[0].payload == mine.encode()
backend.close()
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0
"""


def test_a_forked_process_has_connections_of_its_own(memcached):
    """Were they shared, each process would read what the other has asked for."""
    forking = [sys.executable, "-W", "error", "-c", _FORKS, url_of(memcached, prefix="fork")]
    subprocess.run(forking, check=True, timeout=60)


def test_threads_have_connections_of_their_own_and_share_them_afterwards(memcached, backends):
    backend = backends(url_of(memcached, prefix="threads"))
    before = int(stat(memcached, b"total_connections"))

    def work(number):
        for turn in range(50):
            assert backend.record([transition(f"{number}-{turn}", payload=b"%d" % number)])[0].applied
            assert backend.read([f"{number}-{turn}"])[0].payload == b"%d" % number

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(stat(memcached, b"total_connections")) - before <= 10  # the one of this check included
    assert backend.counts()["tasks"] == 400


def stat(server, name):
    client = server.client()
    try:
        return client.stats()[name]
    finally:
        client.close()


def test_a_name_with_several_addresses_is_reached_by_any_of_them(memcached, backends, monkeypatch):
    """``localhost`` is ::1 first on most machines, where a server that listens on 127.0.0.1 is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()
        there = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        places = [(*there, closed), (*there, ("127.0.0.1", memcached.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: places)
        backends(f"memcache://localhost:{memcached.port}").ping()


def test_a_unix_socket_is_a_server_too(servers, tmp_path, backends):
    server = servers(path=tmp_path / "socket")
    backend = backends(server.url + "?namespace=a")
    assert backend.record([transition("t")])[0].applied
    assert backend.counts()["tasks"] == 1


def test_user_and_password_are_sent_and_not_shown(servers, tmp_path, backends):
    secrets = tmp_path / "users"
    secrets.write_text("worker:s3cret\n")
    server = servers("-Y", str(secrets))
    place = f"127.0.0.1:{server.port}"
    backend = backends(f"memcache://worker:s3cret@{place}")
    assert backend.record([transition("t")])[0].applied
    for url in (f"memcache://worker:wr0ng@{place}", f"memcache://{place}"):
        refused = backends(url)
        error = error_of(refused.ping)
        assert isinstance(error, AuthenticationFailed)
        assert "wr0ng" not in str(error) + repr(refused)


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def with_tls(servers, certificates):
    """Starts a server with TLS; its URL without options of TLS."""

    def start(*options):
        files = f"ssl_chain_cert={certificates.certificate},ssl_key={certificates.key}"
        server = servers("-Z", "-o", ",".join([files, *options]))
        return f"memcache://localhost:{server.port}/?namespace=a"

    return start


def test_tls_is_spoken_to_a_server_that_can_be_trusted(with_tls, certificates, backends):
    url = with_tls() + "&tls=true"
    backend = backends(f"{url}&ca_file={certificates.authority}")
    assert backend.record([transition("t", payload=bytes(3_000_000))])[0].applied
    assert backend.read(["t"])[0].payload == bytes(3_000_000)
    for place, words in ((url, "ca_file"), (f"{url}&ca_file=/nowhere", "/nowhere")):
        error = error_of(backends(place).ping)
        assert isinstance(error, ServiceRefused)
        assert words in str(error)


def test_the_certificate_of_a_server_is_not_checked_with_verify_false(with_tls, backends):
    backend = backends(with_tls() + "&tls=true&verify=false")
    assert backend.record([transition("t")])[0].applied


def test_a_server_may_ask_for_the_certificate_of_its_client(with_tls, certificates, backends):
    url = with_tls("ssl_verify_mode=2", f"ssl_ca_cert={certificates.authority}") + (
        f"&tls=true&ca_file={certificates.authority}"
    )
    backend = backends(f"{url}&cert_file={certificates.certificate}&key_file={certificates.key}")
    assert backend.record([transition("t")])[0].applied
    assert isinstance(error_of(backends(url).ping), ServiceUnavailable)


def test_an_application_brings_its_own_tls_context(with_tls, certificates, backends):
    context = ssl.create_default_context(cafile=certificates.authority)
    backend = backends(with_tls(), options={"tls_context": context})
    assert backend.record([transition("t")])[0].applied


def test_sockets_are_kept_alive_as_the_application_says(memcached, backends):
    keepalive = KeepaliveOpts(idle=41, intvl=7, cnt=3)
    backend = backends(url_of(memcached), options={"socket_keepalive": keepalive})
    assert socket_options(backend) == [1, 41, 7, 3]
    assert socket_options(backends(url_of(memcached)))[0] == 0


def socket_options(backend):
    """Whether the socket of a connection is kept alive, and after how many seconds, how often, how many times."""
    (pool,) = backend._servers._pools.values()
    with pool.connection() as connection, connection._socket() as connected:
        level, tcp = socket.SOL_SOCKET, socket.IPPROTO_TCP
        options = [(level, socket.SO_KEEPALIVE), (tcp, socket.TCP_KEEPIDLE), (tcp, socket.TCP_KEEPINTVL)]
        return [connected.getsockopt(*option) for option in [*options, (tcp, socket.TCP_KEEPCNT)]]


def test_another_service_is_not_taken_for_a_memcached(backends):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        error = error_of(backends(f"memcache://127.0.0.1:{listening.getsockname()[1]}").ping)
        answering.join()
    assert isinstance(error, ServiceRefused)
    assert "does not seem to be a Memcached" in str(error)


def test_the_driver_refuses_to_wait(memcached, backends):
    backend = backends(url_of(memcached))
    assert backend.wait([], timeout_seconds=1.0) == {}
    with pytest.raises(NotSupported):
        backend.wait(["t"], timeout_seconds=1.0)
