"""Versioned values: what they cost, their index under interruptions and losses, versions after a loss."""

import threading

import pytest

from drivetrain.contract import ServiceRefused, SystemClock, ValueWrite
from drivetrain_memcache import values as values_module
from drivetrain_memcache.codec import load_index
from drivetrain_memcache.connection import Connection
from drivetrain_memcache.keys import Keys, Kind
from drivetrain_memcache.protocol import batches

DAY = 86_400.0
NAMES = [f"name-{number:03}" for number in range(200)]


class Shifted(SystemClock):
    """The clock of a machine that is set wrong, or of a later time."""

    def __init__(self, seconds=0.0):
        self.shift = seconds

    def now(self):
        return super().now() + self.shift


@pytest.fixture
def namespace(request):
    return "".join(character for character in request.node.name if character.isalnum())[:60]


@pytest.fixture
def url(memcached, namespace):
    return f"{memcached.url}/?namespace={namespace}"


@pytest.fixture
def backend(url, backends):
    return backends(url)


@pytest.fixture
def later(url, backends):
    """A backend for which a week has passed, so that it does not trust the index."""
    return backends(url, clock=Shifted(7 * DAY))


def write(backend, *names, value=b"value", **fields):
    return backend.write_values([ValueWrite(key=name, value=value, **fields) for name in names])


def listed(backend, prefix="", limit=1_000):
    found, cursor = [], None
    while True:
        page = backend.list_values(prefix, limit=limit, cursor=cursor)
        found += [key for key, _ in page.values]
        cursor = page.cursor
        if cursor is None:
            return found


def in_index(client, namespace):
    """All keys in the shards, those without a value too."""
    shards = [Keys(namespace).named(Kind.INDEX, str(shard)).name for shard in range(values_module.SHARDS)]
    return sorted(name for item in client.get_many(shards).values() for name in load_index(item[1:]))


@pytest.fixture
def client(memcached):
    client = memcached.client()
    yield client
    client.close()


# Cost


def test_what_a_batch_costs_in_round_trips(backend, later, monkeypatch):
    trips = []
    exchange = Connection.exchange

    def counted(connection, requests):
        trips.extend(1 for _ in batches(requests))
        return exchange(connection, requests)

    monkeypatch.setattr(Connection, "exchange", counted)

    def cost(call):
        del trips[:]
        call()
        return len(trips)

    assert cost(lambda: write(backend, *NAMES)) == 4, "read, claim, index, value"
    assert cost(lambda: write(backend, *NAMES)) == 2
    assert cost(lambda: backend.write_values([ValueWrite(key=name, value=None) for name in NAMES])) == 2
    assert cost(lambda: write(backend, *NAMES)) == 2, "the index lists a key for a while after its value was removed"
    assert cost(lambda: write(backend, *NAMES, if_version=0)) == 1
    assert cost(lambda: backend.read_values(NAMES)) == 1
    assert cost(lambda: backend.list_values("name", limit=1_000)) == 3, "half of the index, the other half, the values"
    assert cost(lambda: backend.list_values("name", limit=10)) == 2
    assert cost(backend.sweep) == 2
    assert cost(lambda: write(later, *NAMES)) == 3, "read; read the item and the index; value"


# The index


def absent(backend, client, namespace):
    pass


def stored(backend, client, namespace):
    write(backend, "key")


def removed(backend, client, namespace):
    write(backend, "key")
    backend.write_values([ValueWrite(key="key", value=None)])


def dropped(backend, client, namespace):
    write(backend, "key")
    client.delete(Keys(namespace).named(Kind.VALUE, "key").name)


def unlisted_half(backend, client, namespace):
    """A sweep ended after it had changed the item, before it changed the index."""
    removed(backend, client, namespace)
    backend._values._unlist(["key"])


def unlisted(backend, client, namespace):
    removed(backend, client, namespace)
    sweep_all(backend)


class Interrupted:
    """Lets something happen once, before the call of the store that has this number."""

    def __init__(self, backend, monkeypatch, position, meanwhile):
        self._before_it = position
        exchange = backend._store._exchange

        def interrupted(*arguments):
            self._before_it -= 1
            if self._before_it == -1:
                meanwhile()
            return exchange(*arguments)

        monkeypatch.setattr(backend._store, "_exchange", interrupted)

    @property
    def happened(self):
        return self._before_it < 0


def sweep_all(backend):
    for _ in range(values_module.SHARDS // values_module._STEP):
        backend.sweep()


@pytest.mark.parametrize("begin", [absent, stored, removed, dropped, unlisted_half, unlisted])
@pytest.mark.parametrize("position", range(6))
def test_a_sweep_during_a_write_does_not_hide_the_value(url, backends, monkeypatch, client, namespace, begin, position):
    monkeypatch.setattr(values_module, "_LISTED_SECONDS", 0.0)
    writing, sweeping = backends(url), backends(url)
    begin(sweeping, client, namespace)
    interrupted = Interrupted(writing, monkeypatch, position, lambda: sweep_all(sweeping))
    (outcome,) = write(writing, "key")
    assert outcome.written
    assert sweeping.read_values(["key"]) == [outcome.current]
    assert listed(sweeping) == ["key"]
    assert interrupted.happened or position >= 3


@pytest.mark.parametrize("begin", [stored, removed, dropped, unlisted_half])
@pytest.mark.parametrize("trusts", [False, True], ids=["lists", "trusts the index"])
@pytest.mark.parametrize("position", range(8))
def test_a_write_during_a_sweep_is_listed(url, backends, monkeypatch, client, namespace, begin, trusts, position):
    if not trusts:
        monkeypatch.setattr(values_module, "_LISTED_SECONDS", 0.0)
    writing, sweeping = backends(url), backends(url, clock=Shifted(7 * DAY))
    begin(writing, client, namespace)
    interrupted = Interrupted(sweeping, monkeypatch, position, lambda: write(writing, "key"))
    sweep_all(sweeping)
    if not interrupted.happened:
        write(writing, "key")
    assert listed(writing) == ["key"]


@pytest.mark.parametrize("begin", [absent, removed, dropped, unlisted_half, unlisted])
@pytest.mark.parametrize("position", range(4))
def test_of_two_writes_at_once_one_takes_effect(url, backends, monkeypatch, client, namespace, begin, position):
    slow, fast = backends(url), backends(url)
    begin(fast, client, namespace)
    outcomes = []
    interrupted = Interrupted(slow, monkeypatch, position, lambda: outcomes.extend(write(fast, "key", if_version=0)))
    outcomes += write(slow, "key", value=b"slow", if_version=0)
    assert interrupted.happened or position >= 2
    (written,) = (outcome for outcome in outcomes if outcome.written)
    assert fast.read_values(["key"]) == [written.current]
    assert [outcome.current for outcome in outcomes] == [written.current] * len(outcomes)


def test_whatever_writes_and_sweeps_at_once_every_stored_value_is_listed(url, backends, monkeypatch):
    monkeypatch.setattr(values_module, "_LISTED_SECONDS", 0.0)
    names = [f"key-{number}" for number in range(6)]
    ended = threading.Event()

    def write_and_remove(backend):
        for round_ in range(60):
            for name in names:
                value = None if round_ % 2 else b"value"
                backend.write_values([ValueWrite(key=name, value=value)])

    def sweep(backend):
        while not ended.is_set():
            sweep_all(backend)

    writers = [threading.Thread(target=write_and_remove, args=(backends(url),)) for _ in range(2)]
    sweeper = threading.Thread(target=sweep, args=(backends(url),))
    for thread in (*writers, sweeper):
        thread.start()
    for thread in writers:
        thread.join()
    reader = backends(url)
    found = [name for name, value in zip(names, reader.read_values(names), strict=True) if value is not None]
    assert sorted(listed(reader)) == found
    write(reader, *names)
    ended.set()
    sweeper.join()
    assert sorted(listed(reader)) == names


def test_sweeps_take_removed_expired_and_dropped_values_out_of_the_index(backend, later, client, namespace):
    write(backend, *NAMES)
    backend.write_values([ValueWrite(key=name, value=None) for name in NAMES[:50]])
    write(backend, *NAMES[50:100], expires_in_seconds=60.0)
    client.delete_many([Keys(namespace).named(Kind.VALUE, name).name for name in NAMES[100:150]])
    assert in_index(client, namespace) == NAMES
    sweep_all(later)
    assert in_index(client, namespace) == NAMES[150:]
    assert listed(backend) == listed(later)
    assert sorted(listed(backend)) == NAMES[150:]


def test_a_sweep_leaves_keys_that_are_used_again_soon(backend, client, namespace):
    write(backend, "lock")
    backend.write_values([ValueWrite(key="lock", value=None)])
    sweep_all(backend)
    assert in_index(client, namespace) == ["lock"]


def test_values_are_listed_again_after_the_cache_dropped_the_index(backend, later, client, namespace):
    write(backend, *NAMES)
    client.delete_many([Keys(namespace).named(Kind.INDEX, str(shard)).name for shard in range(values_module.SHARDS)])
    write(backend, *NAMES)
    assert listed(backend) == []
    write(later, *NAMES)
    assert sorted(listed(backend)) == NAMES


def test_pages_are_as_long_as_asked_for(backend):
    write(backend, *NAMES)
    assert sorted(listed(backend, "name", limit=3)) == NAMES
    page = backend.list_values("name", limit=7)
    assert len(page.values) == 7


def test_a_page_passes_a_limited_number_of_keys_without_a_value(backend):
    removed = [f"removed-{number}" for number in range(4_000)]
    write(backend, *removed)
    backend.write_values([ValueWrite(key=key, value=None) for key in removed])
    write(backend, *NAMES[:3])
    pages, cursor = [], None
    while not pages or cursor is not None:
        page = backend.list_values("", limit=2, cursor=cursor)
        pages.append(len(page.values))
        cursor = page.cursor
    assert sum(pages) == 3
    assert 3 <= len(pages) <= 8


def test_a_shard_of_the_index_without_room_refuses_new_keys_and_no_others(memcached, backends):
    backend = backends(f"{memcached.url}/?namespace=full&largest_value_bytes=16384")
    long = [f"{number:03}" + "x" * 1_000 for number in range(1_000)]
    fits = []
    with pytest.raises(ServiceRefused, match="largest_value_bytes is 16384"):
        for name in long:
            write(backend, name)
            fits.append(name)
    assert len(fits) > 32
    assert all(outcome.written for outcome in write(backend, *fits))
    assert sorted(listed(backend)) == fits


# Versions


def test_a_value_that_memcached_has_dropped_has_larger_versions_afterwards(backend, client, namespace):
    (before,) = write(backend, "key")
    client.delete(Keys(namespace).named(Kind.VALUE, "key").name)
    assert backend.read_values(["key"]) == [None]
    assert not write(backend, "key", if_version=before.current.version)[0].written
    (after,) = write(backend, "key", if_version=0)
    assert after.current.version > before.current.version


def test_versions_grow_also_where_clocks_differ(url, backends):
    right, wrong = backends(url), backends(url, clock=Shifted(-3_600.0))
    versions = []
    for backend in (right, wrong, right, wrong):
        (outcome,) = write(backend, "key")
        versions.append(outcome.current.version)
        backend.write_values([ValueWrite(key="key", value=None)])
    assert versions == sorted(set(versions))


def test_a_large_value_is_split_and_leaves_no_parts(backend):
    large = bytes(range(256)) * 10_000
    write(backend, "key", value=large)
    assert backend.read_values(["key"])[0].value == large
    assert backend.counts()["values"] == 1
    write(backend, "key", value=large, expires_in_seconds=60.0)
    backend.write_values([ValueWrite(key="key", value=None)])
    (server,) = backend._servers.names
    kinds = {name.split(b":")[1] for name in backend._servers.list_keys(server, backend._keys.beginning, SystemClock())}
    assert kinds == {b"v", b"i"}
