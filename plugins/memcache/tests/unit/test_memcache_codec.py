"""Keys, entries, shards and versioned values of the memcache driver as bytes and back; and the count of completions."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import LARGEST_VERSION, Completion, Member, State, StateChange, TaskRecord, ValueWrite
from drivetrain_memcache.codec import (
    GroupHeader,
    StoredEntry,
    StoredValue,
    change_value,
    dump_entry,
    dump_index,
    live,
    load_entry,
    load_index,
)
from drivetrain_memcache.group_completion import SHARD, GroupCompletion, Shard, shard_of, shard_sizes
from drivetrain_memcache.keys import Keys, Kind

NOW = 1_700_000_000.0
DAY = 86_400


# Keys


@given(st.sampled_from(list(Kind)), st.text(st.characters(codec=None)) | st.text(string.printable, min_size=80))
def test_any_name_makes_a_key_that_memcached_accepts(kind, name):
    key = Keys("p" * 60).named(kind, name).name
    assert len(key) <= 250
    assert all(0x21 <= character <= 0x7E for character in key)


def test_different_names_have_different_keys():
    keys = Keys("a")
    names = ["x", "X", "#x", "x ", "x:1", "", "é", "\ud800", "x" * 300, "x" * 299 + "y", "s:x", "b:x"]
    made = [keys.named(kind, name).name for kind in (Kind.ENTRY, Kind.BODY, Kind.VALUE) for name in names]
    assert len(set(made)) == len(made)
    assert not Keys("a").is_kind(Kind.ENTRY, Keys("ab").named(Kind.ENTRY, "x").name)


# Entries


TEXT = st.text(st.characters(codec=None))
RECORDS = st.builds(
    TaskRecord,
    task_id=TEXT,
    state=st.sampled_from(State),
    attempt=st.integers(),
    task=TEXT,
    queue=TEXT,
    workflow=TEXT,
    parent=TEXT,
    run=st.none() | st.text(),
    leased_until=st.none() | st.floats(allow_nan=False),
    starts=st.integers(0),
    payload=st.none() | st.binary(),
    downstream=st.none() | st.binary(),
    history=st.dictionaries(st.sampled_from(State), st.builds(StateChange, st.floats(allow_nan=False), st.text())),
    expires_at=st.none() | st.floats(allow_nan=False),
)
GROUPS = st.builds(GroupHeader, tag=st.just("0a"), size=st.integers(0), collect=st.booleans(), continuation=st.binary())


@given(st.one_of(st.tuples(RECORDS, st.none()), st.tuples(st.none(), GROUPS), st.tuples(RECORDS, GROUPS)))
def test_an_entry_comes_back_from_its_bytes(parts):
    entry = StoredEntry(*parts)
    assert load_entry(dump_entry(entry)) == entry


@pytest.mark.parametrize("group", [None, GroupHeader(tag="0a", size=2, collect=False, continuation=bytes(3_000))])
def test_the_first_part_of_an_entry_describes_its_content(group):
    """Counting reads no more of a value that is split."""
    entry = StoredEntry(TaskRecord(task_id="t", state=State.SUCCESS, payload=bytes(2_000)), group)
    part = load_entry(dump_entry(entry)[:1_000])
    assert part.record.state is State.SUCCESS
    assert (part.group is None) == (group is None)
    assert group is None or (part.group.tag, part.group.size) == ("0a", 2)


def test_an_entry_that_has_ended_or_is_empty_is_not_live():
    ended = StoredEntry(TaskRecord(task_id="t", state=State.SUCCESS, expires_at=NOW))
    assert live(ended, NOW - 0.001) is ended
    assert live(ended, NOW) is None
    assert live(StoredEntry(), NOW) is None


# Groups


def test_a_large_group_has_shards_of_one_size():
    assert shard_sizes(0) == [0]
    assert shard_sizes(1) == [1]
    assert shard_sizes(SHARD) == [SHARD]
    assert shard_sizes(2 * SHARD + 3) == [SHARD, SHARD, 3]
    assert shard_of(2 * SHARD + 2) == (2, 2)


@given(st.sets(st.integers(0, SHARD - 1), max_size=30), st.booleans(), st.booleans())
def test_a_shard_comes_back_from_its_bytes(positions, failed, split):
    shard = Shard(failed=failed, split=split)
    for position in positions:
        shard = shard.complete(position, failed=False)
    assert (shard.failed, shard.split) == (failed, split)
    assert Shard.load(shard.dump()) == shard
    assert shard.done == len(positions)


def test_a_completion_costs_a_shard_and_not_the_group():
    """10,000 members that end one by one, each of which rewrites its shard, move 12 MB; not the square of anything."""
    full = Shard((1 << SHARD) - 1)
    assert len(full.dump()) <= SHARD // 8 + 1


def batch_of(*indexes):
    return [(at, Completion(member=Member("g", index), payload=b"")) for at, index in enumerate(indexes)]


def test_members_that_others_complete_meanwhile_are_not_counted_as_ours():
    """Two finishers of one shard: the count of the second continues the count of the first."""
    header = GroupHeader(tag="0", size=4, collect=False, continuation=b"")
    one = GroupCompletion("g", header, batch_of(3, 1), failures={3: False, 1: False})
    before = Shard().complete(0, failed=False).complete(1, failed=False)
    changed = one.changed({0: before})
    one.written(0, before)
    one.finish(changed)
    assert [(answer.done, answer.complete) for answer in one.progress().values()] == [(3, False), (3, False)]


def test_a_failure_counts_from_the_member_that_failed():
    header = GroupHeader(tag="0", size=2, collect=False, continuation=b"")
    one = GroupCompletion("g", header, batch_of(0, 1), failures={0: False, 1: True})
    changed = one.changed({0: Shard()})
    one.written(0, Shard())
    one.finish(changed)
    assert [answer.failed for answer in one.progress().values()] == [False, True]


# Versioned values


@given(
    st.builds(
        StoredValue,
        version=st.integers(0, LARGEST_VERSION),
        value=st.none() | st.binary(),
        ends_at=st.none() | st.floats(allow_nan=False),
        listed_at=st.none() | st.floats(allow_nan=False),
        claimed=st.booleans(),
    )
)
def test_the_item_of_a_value_comes_back_from_its_bytes(stored):
    assert StoredValue.load(stored.dump()) == stored
    head = StoredValue.load(stored.dump().partition(b"\n")[0])
    assert (head.version, head.value is None) == (stored.version, stored.value is None)


@given(st.lists(TEXT))
def test_a_shard_of_the_index_comes_back_from_its_bytes(keys):
    assert load_index(dump_index(keys)) == keys


def test_versions_grow_whatever_the_clock_does():
    def written(stored, now):
        stored, _ = change_value(stored, [ValueWrite(key="k", value=b"")], now)
        return stored

    first = written(None, NOW)
    assert written(first, NOW + 1).version > first.version
    assert written(first, NOW - DAY).version == first.version + 1
    assert written(None, NOW + 0.001).version > first.version  # Memcached has dropped the item


def test_a_write_that_changes_nothing_leaves_the_item():
    stored, _ = change_value(None, [ValueWrite(key="k", value=b"v")], NOW)
    for value, if_version in ((b"w", 0), (b"w", stored.version + 1), (None, 0)):
        after, (outcome,) = change_value(stored, [ValueWrite(key="k", value=value, if_version=if_version)], NOW)
        assert after is stored
        assert not outcome.written
    assert change_value(None, [ValueWrite(key="k", value=None)], NOW)[0] is None
