"""Versioned values: round trips, what is stored, shards, versions after a loss of all data."""

import pytest

from drivetrain.contract import DriverContext, ValueWrite
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_redis import make_backend
from drivetrain_redis.connection import ServerConnection
from drivetrain_redis.keys import VALUE_SUFFIXES, Keys
from drivetrain_redis.values import SHARDS
from support.waiting import until

NAMES = [f"name-{number:03}" for number in range(200)]


@pytest.fixture
def trips(monkeypatch):
    """How many commands each trip to a server has carried."""
    carried = []
    original = ServerConnection.send

    def counting(connection, calls):
        carried.append(len(calls))
        original(connection, calls)

    monkeypatch.setattr(ServerConnection, "send", counting)
    return carried


@pytest.fixture
def on_cluster(redis_cluster, prefix):
    backend = make_backend(f"{redis_cluster.url}?durability=none&namespace={prefix}", DriverContext())
    yield backend
    backend.close()


def write(backend, *names, **fields):
    return backend.write_values([ValueWrite(key=name, value=b"value", **fields) for name in names])


def pages(backend, prefix, limit):
    page = backend.list_values(prefix, limit=limit)
    yield page
    while page.cursor is not None:
        page = backend.list_values(prefix, limit=limit, cursor=page.cursor)
        yield page


def stored_keys(client, prefix):
    bases = [Keys(prefix).values(shard) for shard in range(SHARDS)]
    return {
        key for base in bases for key in (base, *(base + suffix for suffix in VALUE_SUFFIXES)) if client.exists(key)
    }


def test_a_batch_a_page_and_a_sweep_are_one_command_each(backend, trips):
    write(backend, "first")
    del trips[:]
    write(backend, *NAMES)
    assert None not in backend.read_values(NAMES)
    assert len(backend.list_values("name", limit=50).values) == 50
    backend.sweep()
    assert trips == [1, 1, 1, 1, 1], "a sweep is one command for the values, and one for the index of tasks"


def test_a_huge_batch_is_one_trip_of_several_commands(backend, trips):
    write(backend, "first")
    del trips[:]
    write(backend, *(f"{number}" for number in range(2_500)))
    assert trips == [3]


def test_a_batch_is_one_trip_to_each_node_of_a_cluster(on_cluster, trips):
    write(on_cluster, *NAMES)
    for call in (
        lambda: write(on_cluster, *NAMES),
        lambda: on_cluster.read_values(NAMES),
        lambda: on_cluster.list_values("", limit=10),
    ):
        del trips[:]
        call()
        assert (len(trips), sum(trips)) == (3, SHARDS)


@pytest.mark.parametrize("where", ["backend", "on_cluster"])
def test_pages_come_in_the_order_of_the_keys_and_are_as_long_as_asked_for(request, where):
    backend = request.getfixturevalue(where)
    write(backend, *NAMES)
    found = [[key for key, _ in page.values] for page in pages(backend, "name", 20)]
    assert [key for page in found for key in page] == NAMES
    assert len(found) < 2 * len(NAMES) / 20


def test_a_page_passes_a_limited_number_of_expired_values(backend, client, prefix):
    write(backend, *NAMES, expires_in_seconds=0.001)
    until(lambda: backend.read_values(NAMES) == [None] * len(NAMES), "all have expired")
    found = list(pages(backend, "", 10))
    assert not any(page.values for page in found)
    assert len(found) > 5, "one page has passed all of them"
    assert stored_keys(client, prefix) > {Keys(prefix).values(shard) for shard in range(SHARDS)}


@pytest.mark.parametrize("drop", [lambda backend: backend.sweep(), lambda backend: write(backend, *NAMES)])
def test_expired_values_are_dropped_by_a_sweep_and_by_writes(backend, client, prefix, drop):
    expired = [f"expired-{number}" for number in range(200)]
    write(backend, *expired, expires_in_seconds=0.001)
    until(lambda: backend.read_values(expired) == [None] * len(expired), "all have expired")
    drop(backend)
    write_again = {name.encode() for name in expired}
    for shard in range(SHARDS):
        base = Keys(prefix).values(shard)
        assert not write_again & set(client.hkeys(base))
        assert not write_again & set(client.zrange(base + b":index", 0, -1))
        assert not client.exists(base + b":ends")


def test_removed_values_leave_only_the_last_versions(backend, client, prefix):
    write(backend, *NAMES[:100])
    write(backend, *NAMES[100:], expires_in_seconds=60)
    backend.write_values([ValueWrite(key=name, value=None) for name in NAMES])
    assert stored_keys(client, prefix) == {Keys(prefix).values(shard) + b":version" for shard in range(SHARDS)}


def test_versions_grow_after_all_data_were_lost(backend, client, prefix):
    for _ in range(3):
        (before,) = write(backend, "key")
    client.delete(*stored_keys(client, prefix))
    (after,) = write(backend, "key", if_version=0)
    assert after.current.version > before.current.version


def test_versions_grow_where_the_clock_is_behind_the_last_one(backend, client, prefix):
    (first,) = write(backend, "key")
    (counter,) = (key for key in stored_keys(client, prefix) if key.endswith(b":version"))
    client.set(counter, first.current.version + 10**12)
    (second,) = write(backend, "key")
    assert second.current.version == first.current.version + 10**12 + 1


def watch_keys(client, prefix):
    # One command: other tests have left thousands of keys, and a scan makes a trip for each ten of them.
    bases = tuple(Keys(prefix).values(shard) for shard in range(SHARDS))
    registrations = tuple(base + suffix for base in bases for suffix in (b":watch:", b":prefixes"))
    return {key for key in client.keys(f"*{prefix}*") if key.startswith(registrations)}


@pytest.mark.parametrize("prefix_waited_for", [None, "p/"])
def test_a_wait_registers_and_leaves_nothing_behind(backend, client, prefix, prefix_waited_for):
    waiting = Background(backend.wait_values, {"k": 0, "other": 0}, prefix=prefix_waited_for, timeout_seconds=60.0)
    until(lambda: watch_keys(client, prefix), "the caller is registered")
    registered = watch_keys(client, prefix)
    assert all(0 < client.pttl(key) <= 60_000 for key in registered), "a caller that is killed is not forgotten"
    write(backend, "k")
    assert waiting.result() == ["k"]
    assert watch_keys(client, prefix) == set()
    assert backend.wait_values({"k": 0}, prefix=prefix_waited_for, timeout_seconds=60.0) == ["k"]
    assert backend.wait_values({"new": 0}, timeout_seconds=0.01) == []
    assert watch_keys(client, prefix) == set()


def test_a_caller_that_was_killed_is_dropped_by_the_next_one(backend, client, prefix):
    base = Keys(prefix).values(0)
    client.zadd(base + b":watch:pp/", {b"long gone": 1.0})
    client.zadd(base + b":prefixes", {b"old/": 1.0})
    waiting = Background(backend.wait_values, {}, prefix="p/", timeout_seconds=60.0)
    until(lambda: client.zrange(base + b":prefixes", 0, -1) == [b"p/"], "one registers, and the old one is gone")
    assert b"long gone" not in client.zrange(base + b":watch:pp/", 0, -1)
    write(backend, "p/k")
    assert waiting.result() == ["p/k"]
