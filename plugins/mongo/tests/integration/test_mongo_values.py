"""Versioned values: commands for each call, conflicts, documents that outlive their value, pages."""

import pytest
from pymongo.collection import Collection

from drivetrain.contract import ServiceUnavailable, ValueWrite, utf8
from drivetrain_mongo import bulk
from drivetrain_mongo import values as values_module
from drivetrain_mongo.codec import micros
from support.waiting import until

NAMES = [f"name-{number:03}" for number in range(50)]


def write(backend, *names, value=b"value", **fields):
    return backend.write_values([ValueWrite(key=name, value=value, **fields) for name in names])


def remove(backend, *names):
    return backend.write_values([ValueWrite(key=name, value=None) for name in names])


def pages(backend, prefix, limit):
    page = backend.list_values(prefix, limit=limit)
    yield page
    while page.cursor is not None:
        page = backend.list_values(prefix, limit=limit, cursor=page.cursor)
        yield page


def later(collections, seconds):
    """As if this time had passed since the documents were written."""
    collections["values"].update_many({}, {"$inc": {"ends": -micros(seconds)}})


# Cost


def test_what_a_batch_costs_in_commands(commands, make):
    backend = make()
    write(backend, "first")

    def cost(call):
        del commands[:]
        call()
        return commands

    assert cost(lambda: write(backend, *NAMES)) == ["find", "insert"]
    assert cost(lambda: write(backend, *NAMES)) == ["find", "update"]
    assert cost(lambda: write(backend, *NAMES, if_version=0)) == ["find"]
    assert cost(lambda: backend.read_values(NAMES)) == ["find"]
    assert cost(lambda: backend.list_values("name", limit=1_000)) == ["find"]
    assert cost(lambda: remove(backend, *NAMES)) == ["find", "update"]


# Conflicts


@pytest.fixture
def interrupted(monkeypatch):
    """Lets something happen between what a call has read and what it then writes, once for each call of the fixture."""
    waiting = []
    bulk_write = Collection.bulk_write

    def delayed(collection, *arguments, **named):
        if waiting:
            waiting.pop()()
        return bulk_write(collection, *arguments, **named)

    monkeypatch.setattr(Collection, "bulk_write", delayed)
    return waiting.append


@pytest.mark.parametrize("begin", ["absent", "stored", "removed", "expired"])
def test_of_two_writes_at_once_one_takes_effect(make, interrupted, begin):
    slow, fast = make(), make()
    version = 0
    if begin != "absent":
        fields = {"expires_in_seconds": 0.001} if begin == "expired" else {}
        (outcome,) = write(fast, "key", **fields)
        version = outcome.current.version if begin == "stored" else 0
    if begin == "removed":
        remove(fast, "key")
    if begin == "expired":
        until(lambda: fast.read_values(["key"]) == [None], "it has expired")
    outcomes = []
    interrupted(lambda: outcomes.extend(write(fast, "key", value=b"fast", if_version=version)))
    outcomes += write(slow, "key", value=b"slow", if_version=version)
    assert [outcome.written for outcome in outcomes] == [True, False]
    assert {outcome.current.value for outcome in outcomes} == {b"fast"}
    assert {outcome.current.version for outcome in outcomes} == {fast.read_values(["key"])[0].version}


def test_a_write_does_not_take_effect_on_a_value_that_was_removed_meanwhile(make, interrupted):
    slow, fast = make(), make()
    (before,) = write(slow, "key")
    interrupted(lambda: remove(fast, "key"))
    (outcome,) = write(slow, "key", value=b"slow", if_version=before.current.version)
    assert (outcome.written, outcome.current) == (False, None)
    assert fast.read_values(["key"]) == [None]


def test_an_unconditional_write_replaces_a_concurrent_one(make, interrupted):
    slow, fast = make(), make()
    faster = []
    interrupted(lambda: faster.extend(write(fast, "key", value=b"fast")))
    others, mine = write(slow, "other", "key", value=b"slow")
    assert others.written
    assert mine.written
    assert mine.current.version > faster[0].current.version
    assert fast.read_values(["key"])[0].value == b"slow"


def test_a_write_that_is_overtaken_every_time_fails(make, interrupted, monkeypatch):
    monkeypatch.setattr(bulk, "_LONGEST_PAUSE_SECONDS", 0.0)
    slow, fast = make(), make()

    def overtake():
        write(fast, "key")
        interrupted(overtake)

    interrupted(overtake)
    with pytest.raises(ServiceUnavailable, match="try again"):
        write(slow, "key")


# Documents that outlive their value


def test_a_sweep_drops_expired_values_and_a_day_later_their_documents(make, collections):
    backend = make()
    first = write(backend, *NAMES[:20], expires_in_seconds=60.0)
    write(backend, *NAMES[20:30])
    remove(backend, *NAMES[20:25])
    later(collections, 61.0)
    assert backend.counts()["values"] == 5
    assert backend.sweep() == 0
    stored = list(collections["values"].find())
    assert len(stored) == 30
    assert sum("value" in document for document in stored) == 5
    later(collections, 86_401.0)
    backend.sweep()
    assert collections["values"].count_documents({}) == 5
    again = write(backend, *NAMES[:20], if_version=0)
    assert all(new.current.version > old.current.version for new, old in zip(again, first, strict=True))


def test_a_sweep_changes_a_limited_number_of_documents(make, collections, monkeypatch):
    monkeypatch.setattr(values_module, "CHUNK", 10)
    backend = make()
    write(backend, *NAMES, expires_in_seconds=60.0)
    later(collections, 61.0)
    for left in (40, 30):
        backend.sweep()
        assert collections["values"].count_documents({"value": {"$exists": True}}) == left


def test_versions_grow_where_the_clock_is_behind_the_last_one(make, collections):
    backend = make()
    (first,) = write(backend, "key")
    collections["values"].update_one({"_id": "key"}, {"$inc": {"version": 10**12}})
    for _ in range(2):
        (outcome,) = write(backend, "key")
        remove(backend, "key")
    assert outcome.current.version > first.current.version + 10**12


# Pages


def test_pages_come_in_the_order_of_the_keys_and_pass_a_limited_number_of_documents(make, collections):
    backend = make()
    write(backend, *NAMES, "nam", "namf", "other")
    found = [[key for key, _ in page.values] for page in pages(backend, "name", 20)]
    assert [len(page) for page in found] == [20, 20, 10]
    assert [key for page in found for key in page] == NAMES
    write(backend, *NAMES[:20], expires_in_seconds=60.0)
    collections["values"].update_many({"_id": {"$lt": NAMES[20]}}, {"$inc": {"ends": -micros(61.0)}})
    assert [len(page.values) for page in pages(backend, "name", 20)] == [0, 20, 10]
    remove(backend, *NAMES[20:31])
    assert [len(page.values) for page in pages(backend, "name", 20)] == [0, 19]


def test_keys_are_any_text(make):
    names = ["", "\0", "k\0", "k\0x", "k\1", "k\1\1", "k\1\2", "k\2", "k\xff", "k\xfe", "k$", "k.x", "k*"]
    names += ["\ud800", "k\udfff", "k\U0001f600"]
    backend = make()
    outcomes = write(backend, *names)
    assert backend.read_values(names) == [outcome.current for outcome in outcomes]
    found = [key for page in pages(backend, "k", 3) for key, _ in page.values]
    assert found == sorted((name for name in names if name.startswith("k")), key=utf8)
    assert [key for page in pages(backend, "k\xfe", 3) for key, _ in page.values] == ["k\xfe"]
