"""The memcache driver on servers that are away, hang, evict items or lose replies."""

import math
import os
import threading
from contextlib import suppress

import pytest
from pymemcache.exceptions import MemcacheUnexpectedCloseError

from drivetrain.contract import (
    Group,
    Member,
    ServiceUnavailable,
    State,
    ValueWrite,
)
from drivetrain_memcache.group_completion import SHARD
from drivetrain_memcache.keys import Kind
from drivetrain_memcache.protocol import PING, ReplyReader
from support.memcache import done, error_of, keys_of, parts, transition, url_of

DAY = 86_400.0


def test_an_unavailable_server_is_an_error_only_for_its_keys(three, backends):
    backend = backends(url_of(*three))
    names = [f"t{number}" for number in range(60)]
    backend.record([transition(name) for name in names])
    held = {name: backend._servers.server_of(name) for name in names}
    away = three[0]
    of_away = [name for name in names if held[name] == f"127.0.0.1:{away.port}"]
    others = [name for name in names if name not in of_away]
    away.process.kill()
    for _ in range(5):  # no other server answers for it, and nothing is reported as unknown
        error = error_of(lambda: backend.read(of_away[:1]))
        assert isinstance(error, ServiceUnavailable)
        assert f"127.0.0.1:{away.port}" in str(error)
        assert isinstance(error.__cause__, (OSError, MemcacheUnexpectedCloseError))
        assert isinstance(error_of(lambda: backend.record([transition(of_away[0])])), ServiceUnavailable)
        assert isinstance(error_of(lambda: backend.read_values([of_away[0]])), ServiceUnavailable)
        assert None not in backend.read(others)
    assert isinstance(error_of(backend.ping), ServiceUnavailable)
    away.process.start()
    backend.ping()
    assert backend.read(of_away) == [None] * len(of_away)  # it keeps nothing, and says so
    assert backend.record([transition(of_away[0])])[0].applied
    assert None not in backend.read(others)


def test_a_value_with_a_lost_part_is_lost_and_may_be_stored_again(memcached, backends):
    backend = backends(url_of(memcached, prefix="lost-part"))
    backend.record([transition("t", payload=bytes(3_000_000))])
    backend.store_bodies({"b": bytes(3_000_000)})
    client = memcached.client()
    firsts = [name for name in parts(backend) if name.endswith(b":0")]  # one of each value
    assert [client.delete(name) for name in firsts] == [True, True]
    client.close()
    assert backend.read(["t"]) == [None]
    assert backend.load_bodies(["b"]) == [None]
    assert backend.record([transition("t", payload=b"again")])[0].before is None
    backend.store_bodies({"b": b"again"})
    assert (backend.read(["t"])[0].payload, backend.load_bodies(["b"])) == (b"again", [b"again"])


# What Memcached drops


def test_a_full_server_drops_items_and_reports_it(servers, backends):
    small = servers("-m", "2")
    backend = backends(url_of(small))
    backend.record([transition("t"), transition("g", State.PENDING)])
    backend.open_groups([Group(group_id="g", size=2)])
    backend.complete([done(0)])
    (before,) = backend.write_values([ValueWrite(key="l", value=b"held", expires_in_seconds=60.0)])
    small.fill()
    assert backend.read(["t", "g"]) == [None, None]  # their waiting callers get UnknownResult
    assert backend.complete([done(1)]) == [None]
    assert (backend.read_groups(["g"]), backend.read_members("g")) == ([None], [])
    (after,) = backend.write_values([ValueWrite(key="l", value=b"held", if_version=0)])
    assert after.current.version > before.current.version


@pytest.mark.parametrize("size", [3, SHARD + 3])
def test_a_completion_in_a_group_with_a_lost_shard_reports_it_complete(memcached, backends, size):
    """Otherwise all its members would end, nobody would report it as complete, and its waiters would never return."""
    backend = backends(url_of(memcached, prefix=f"lost-shard-{size}"))
    backend.open_groups([Group(group_id="g", size=size, continuation=b"next")])
    backend.complete([done(index) for index in range(size - 2)])
    drop_of_group(memcached, backend, Kind.SHARD)
    (progress,) = backend.complete([done(size - 2)])
    assert progress.complete
    assert backend.read_groups(["g"])[0].continuation == b"next"  # which core ends, when it has seen what is missing
    assert backend.read_members("g") == [b"p"] * (size - 1) + [None]
    backend.complete([done(size - 1)])
    assert backend.read_members("g") == [b"p"] * size  # all are there after all
    backend.forget(["g"])
    assert backend.complete([done(0)]) == [None]
    assert keys_of(backend, memcached) == []


@pytest.mark.parametrize("collect", [False, True])
def test_the_failure_of_a_member_is_known_without_the_bits_too(memcached, backends, collect):
    """Its payload says so. What read as a result would be a failure."""
    backend = backends(url_of(memcached, prefix=f"lost-failure-{collect}"))
    backend.open_groups([Group(group_id="g", size=3, collect=collect)])
    backend.complete([done(0, failed=True)])
    drop_of_group(memcached, backend, Kind.SHARD)
    assert backend.complete([done(1)])[0].complete  # goes on, and finds out:
    assert backend.read_groups(["g"])[0].failed is not collect
    answers = backend.complete([done(2, failed=True), done(1)])
    assert [(one.done, one.failed) for one in answers] == [(3, not collect)] * 2
    backend.record([transition("g", State.FAILURE)])
    assert not backend.read_groups(["g"])[0].failed  # it has ended: nobody reads all its members again


def test_a_payload_that_is_lost_is_none_and_its_group_is_complete_all_the_same(memcached, backends):
    backend = backends(url_of(memcached, prefix="lost-payload"))
    backend.open_groups([Group(group_id="g", size=3)])
    backend.complete([done(0), done(1)])
    drop_of_group(memcached, backend, Kind.MEMBER, 1)
    assert backend.complete([done(2)])[0].complete
    assert backend.read_members("g") == [b"p", None, b"p"]
    backend.record([transition("g", retention=60.0)])
    assert backend.read_members("g") == [b"p", None, b"p"]


def test_a_group_that_is_forgotten_while_it_is_completed_leaves_nothing(memcached, backends, monkeypatch):
    backend, other = (backends(url_of(memcached, prefix="forgotten")) for _ in range(2))
    backend.open_groups([Group(group_id="g", size=3)])
    change = backend._store.change

    def forgotten_before(*arguments):
        monkeypatch.undo()
        other.forget(["g"])
        return change(*arguments)

    monkeypatch.setattr(backend._store, "change", forgotten_before)
    assert backend.complete([done(0), done(1, b"x" * 1_500_000)]) == [None, None]
    assert keys_of(backend, memcached) == []


def drop_of_group(server, backend, kind, number=0):
    """As Memcached does when it has no room: one item of the group ``g`` is gone."""
    tag = backend._entries.read(["g"])["g"].group.tag
    client = server.client()
    assert client.delete(backend._keys.numbered(kind, "g", tag, number).name)
    client.close()


class Cut:
    """Lets the n-th reply from a server be lost, with its connection, after the server has done what it was asked."""

    def __init__(self, monkeypatch):
        self.left = 0
        self.struck = False
        original = ReplyReader.of
        monkeypatch.setattr(ReplyReader, "of", lambda *arguments: self.wrap(original(*arguments)))

    def wrap(self, replies):
        receive = replies.receive

        def cut(size):
            received = receive(size)  # it has been done
            self.left -= 1
            if self.left == 0:
                self.struck = True
                raise ConnectionResetError("planned")
            return received

        replies.receive = cut
        return replies


#: Values of the second size are split into a few items of the first.
_ITEM_BYTES, _SPLIT_BYTES = 16 * 1024, 40_000


def until_answered(call):
    while True:
        with suppress(ServiceUnavailable):
            return call()


def story(backend):
    """A group of three and its members, each call repeated until it is answered; what comes of it."""
    again = until_answered
    again(lambda: backend.record([transition("g", State.PENDING, downstream=b"d")]))
    again(lambda: backend.open_groups([Group(group_id="g", size=3, continuation=bytes(_SPLIT_BYTES))]))
    starts = [transition(f"m{index}", State.STARTED, run=f"r{index}", lease=60.0) for index in range(3)]
    again(lambda: backend.record(starts))
    ends = [
        transition(f"m{index}", run=f"r{index}", payload=b"%d" % index, member=Member("g", index)) for index in range(3)
    ]
    again(lambda: backend.record(ends))
    # As core does: without an answer it completes the member again.
    answers = again(lambda: backend.complete([done(index, b"%d" % index) for index in range(3)]))
    again(lambda: backend.store_bodies({"b": bytes(_SPLIT_BYTES)}))
    again(lambda: backend.write_values([ValueWrite(key="v", value=bytes(_SPLIT_BYTES), if_version=0)]))
    (value,) = again(lambda: backend.read_values(["v"]))
    again(lambda: backend.write_values([ValueWrite(key="w", value=b"w"), ValueWrite(key="v", value=None)]))
    values = [len(value.value), again(lambda: listed(backend))]
    again(backend.sweep)
    records = again(lambda: backend.read(["g", "m0", "m1", "m2"]))
    (group,) = again(lambda: backend.read_groups(["g"]))
    counted = again(backend.counts)
    members = again(lambda: backend.read_members("g"))
    states = [(record.state, record.run, record.payload, record.starts) for record in records]
    again(lambda: backend.forget(["g", "m0", "m1", "m2"]))
    again(lambda: backend.drop_bodies(["b"]))
    left = again(backend.counts)
    of_group = (group.done, group.failed, len(group.continuation))
    return answers[-1], values, states, of_group, counted, members, left


def listed(backend):
    """The keys of all values."""
    page = backend.list_values("", limit=10)
    pages = [page]
    while page.cursor is not None:
        page = backend.list_values("", limit=10, cursor=page.cursor)
        pages.append(page)
    return [key for page in pages for key, _ in page.values]


def test_a_call_may_be_repeated_whichever_reply_was_lost(servers, backends, monkeypatch):
    server = servers()
    plain = story(backends(url_of(server, prefix="whole", item_bytes=_ITEM_BYTES)))
    assert plain[0].complete
    cut, number = Cut(monkeypatch), 0
    while number == 0 or cut.struck:
        number += 1
        cut.left, cut.struck = number, False
        backend = backends(url_of(server, prefix=f"cut-{number}", item_bytes=_ITEM_BYTES))
        assert story(backend) == plain, f"the reply number {number} was lost"
    assert number > 40, "it was not every reply that was lost once"


@pytest.fixture
def with_idle_connections(servers, backends):
    """A backend with four idle connections to a server that was killed and started again."""
    server = servers()
    backend = backends(url_of(server))
    (pool,) = backend._servers._pools.values()
    barrier = threading.Barrier(4)

    def connect():
        with pool.connection() as connection:
            connection.exchange([PING])
            barrier.wait()

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.process.kill()
    server.process.start()
    return backend, pool


def test_idle_connections_of_a_lost_server_fail_once_together(with_idle_connections):
    backend, pool = with_idle_connections
    pool._check_after_seconds = math.inf
    assert isinstance(error_of(lambda: backend.read(["t"])), ServiceUnavailable)
    assert backend.read(["t"]) == [None]


def test_connections_that_were_idle_for_a_while_are_checked_and_do_not_fail(with_idle_connections):
    backend, pool = with_idle_connections
    pool._check_after_seconds = 0.0
    assert backend.read(["t"]) == [None]


def test_a_server_that_hangs_is_given_up_in_time(servers, backends):
    server = servers()
    backend = backends(url_of(server, call_timeout_seconds=0.2))
    backend.ping()
    server.process.pause()
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED | os.WNOWAIT)  # all its threads have stopped
    try:
        error = error_of(lambda: backend.read(["t"]))
    finally:
        server.process.resume()
    assert isinstance(error, ServiceUnavailable)
    assert isinstance(error.__cause__, TimeoutError)
    assert backend.read(["t"]) == [None]  # and what it answered late is nobody's
