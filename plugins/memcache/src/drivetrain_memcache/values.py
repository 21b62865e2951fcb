"""Versioned values: an item for each key, and an index that lists the keys. All of them change by compare-and-set.

The item of a key outlives its value, so that versions grow. The index has a fixed number of shards; a hash of the key
gives its shard. A write changes the index only if the key may not be listed; a removal never does. `Values.sweep`
removes keys without a value from the index.

No stored value is missing in the index, whatever runs at the same time:

1. A writer that lists a key marks its item as claimed first. Then it rewrites the shard, and then it stores the value.
2. A sweep reads the shard first, and then the items. It marks an item without a value as unlisted, skips claimed ones,
   and rewrites the shard last.
3. Each of these steps fails if the item or the shard has changed since it was read. So a sweep that has read the shard
   before step 1 rewrote it fails; and a sweep that has read it later sees the claim, or the value.

The cache may drop a shard. A key is listed again by the first write after `_LISTED_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from random import Random
from zlib import crc32

from attrs import evolve, frozen

from drivetrain.contract import (
    Clock,
    ServiceRefused,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    check_value_sizes,
    utf8,
)
from drivetrain_memcache.codec import StoredValue, change_value, dump_index, load_index
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.protocol import NEVER, exptime
from drivetrain_memcache.value_store import Found, ValueStore, Write, attempts, contended

__all__ = ["SHARDS", "Values"]

#: How many shards the index has, and how many of them are read at once. Stored data depends on the first.
SHARDS, _STEP = 32, 16
#: How many keys of a shard a sweep checks at most.
_MOST_SWEPT = 2_000
#: How many values a page reads at once, and after how many keys without one it ends.
_MOST_AT_ONCE, _MOST_PASSED = 1_000, 1_000
#: How long a write trusts that the index lists a key, in seconds.
_LISTED_SECONDS = 60.0
#: How long the last version outlives its value, in seconds: the most by which clocks may differ.
_VERSION_SECONDS = 86_400.0

_random = Random()


@frozen
class _Item:
    """The item of a key as it was read."""

    #: None: there is none, or a part of it is lost.
    stored: StoredValue | None
    found: Found | None

    def is_listed(self, now: float) -> bool:
        """Whether the index lists the key for certain."""
        listed_at = None if self.stored is None else self.stored.listed_at
        return listed_at is not None and now - listed_at < _LISTED_SECONDS

    def has_ended(self, now: float) -> bool:
        """Whether it holds no value, and no writer claims it."""
        return self.stored is None or self.claim(now) is not self.stored

    def claim(self, now: float) -> StoredValue:
        """The item that must be stored before the index lists the key: this one, or one that is claimed."""
        if self.stored is None:
            return StoredValue(version=0, claimed=True)
        if self.stored.claimed or self.stored.current(now) is not None:
            return self.stored
        return StoredValue(version=self.stored.version, claimed=True)


class Values:
    """Reads, writes and lists versioned values; see `drivetrain.contract.VersionedValues`. Thread-safe.

    Every method raises ServiceUnavailable if other processes changed an item during all attempts.
    """

    def __init__(self, values: ValueStore, keys: Keys, clock: Clock, largest_bytes: int) -> None:
        self._values = values
        self._keys = keys
        self._clock = clock
        self._largest_bytes = largest_bytes
        self._index = _Index(values, keys, clock, largest_bytes)
        self._sweeps = count(_random.randrange(SHARDS))

    def read_values(self, keys: Sequence[str]) -> list[VersionedValue | None]:
        """The values of these keys, in order; None where nothing is stored."""
        items = self._read(keys)
        now = self._clock.now()
        return [_current(items[key], now) for key in keys]

    def write_values(self, writes: Sequence[ValueWrite]) -> list[ValueOutcome]:
        """Write or remove values, the writes of one key in order; the outcomes in order.

        Raises:
            ServiceRefused: the index has no room for a new key.
        """
        check_value_sizes(writes, self._largest_bytes)
        by_key: dict[str, list[ValueWrite]] = {}
        for write in writes:
            by_key.setdefault(write.key, []).append(write)
        outcomes: dict[str, list[ValueOutcome]] = {}
        remaining = by_key
        for _ in attempts(self._clock):
            lost = self._try(remaining, outcomes)
            if not lost:
                ordered = {key: iter(some) for key, some in outcomes.items()}
                return [next(ordered[write.key]) for write in writes]
            remaining = {key: by_key[key] for key in lost}
        raise contended(f"the value {next(iter(remaining))[:100]!r}")

    def list_values(self, prefix: str, limit: int, cursor: str | None) -> ValuePage:
        """A page of values. It passes a limited number of keys without a value."""
        listed = self._listed(prefix, *_parsed(cursor))
        values: list[tuple[str, VersionedValue]] = []
        passed, size = 0, min(limit, _MOST_AT_ONCE)
        while some := list(islice(listed, size)):
            for (step, key), value in zip(some, self.read_values([key for _, key in some]), strict=True):
                cursor = _cursor(step, key)
                if value is not None:
                    values.append((key, value))
                if len(values) == limit:
                    return ValuePage(values=values, cursor=cursor)
            passed, size = passed + len(some), min(2 * size, _MOST_AT_ONCE)
            if passed - len(values) > _MOST_PASSED:
                return ValuePage(values=values, cursor=cursor)
        return ValuePage(values=values)

    def _listed(self, prefix: str, first_step: int, after: bytes | None) -> Iterator[tuple[int, str]]:
        """The keys in the index that begin so, with their steps: step by step, and in the order of their bytes.

        It begins after the key ``after`` of the first step, in UTF-8; None: with the first key.
        """
        for step in range(first_step, SHARDS // _STEP):
            shards = self._index.fetch(step)
            keys = {utf8(key): key for found in shards.values() for key in load_index(found.value)}
            for encoded in sorted(keys):
                if keys[encoded].startswith(prefix) and (after is None or encoded > after):
                    yield step, keys[encoded]
            after = None

    def sweep(self) -> None:
        """Remove keys without a value from the index: in a few shards, a limited number in each.

        Memcached itself drops expired items.
        """
        shards = self._index.fetch(next(self._sweeps) % (SHARDS // _STEP))
        listed = {key: load_index(found.value) for key, found in shards.items()}
        checked = [name for names in listed.values() for name in _sample(names)]
        gone = set(self._unlist(checked))
        writes = [
            Write(key, dump_index([name for name in names if name not in gone]), NEVER, shards[key])
            for key, names in listed.items()
            if not gone.isdisjoint(names)
        ]
        self._values.change(writes)  # a shard that has changed meanwhile is left to a later sweep

    def _unlist(self, names: Sequence[str]) -> list[str]:
        """The keys among these that a shard need not list. Their items say so."""
        items = self._read(names)
        now = self._clock.now()
        ended = {name: item for name, item in items.items() if item.has_ended(now) and not item.is_listed(now)}
        writes = {
            name: self._write(name, StoredValue(version=item.stored.version), item.found, now)
            for name, item in ended.items()
            if item.stored is not None
        }
        stored, _ = self._values.change(list(writes.values()))
        failed = {name for name, done in zip(writes, stored, strict=True) if not done}
        return [name for name in ended if name not in failed]

    def _try(self, writes: Mapping[str, Sequence[ValueWrite]], outcomes: dict[str, list[ValueOutcome]]) -> list[str]:
        """Try the writes of each key once; the keys whose item another process changed first."""
        items = self._read(writes)
        now = self._clock.now()
        changed: dict[str, StoredValue] = {}
        for key, some in writes.items():
            after, outcomes[key] = change_value(items[key].stored, some, now)
            if after is not None and after is not items[key].stored:
                changed[key] = after
        unlisted = [key for key, after in changed.items() if after.value is not None and not items[key].is_listed(now)]
        listed = self._list({key: items[key] for key in unlisted}, now) if unlisted else {}
        ready: dict[str, Write] = {}
        for key, after in changed.items():
            if key in listed:
                ready[key] = self._write(key, evolve(after, listed_at=now), listed[key].found, now)
            elif key not in unlisted:
                ready[key] = self._write(key, after, items[key].found, now)
        stored, _ = self._values.change(list(ready.values()))
        written = {key for key, done in zip(ready, stored, strict=True) if done}
        return [key for key in changed if key not in written]

    def _list(self, items: Mapping[str, _Item], now: float) -> dict[str, _Item]:
        """Let the index list these keys. Returns their items, without those that another process has changed."""
        claims = {key: item.claim(now) for key, item in items.items()}
        new = [key for key, item in items.items() if claims[key] is not item.stored]
        writes = [self._write(key, claims[key], items[key].found, now) for key in new]
        shards = [self._index.key_of(key) for key in items]
        _, found = self._values.change(writes, [*map(self._key, items), *shards])
        read = {key: _item(found.get(self._key(key))) for key in items}
        ready = {key: item for key, item in read.items() if item.stored == claims[key]}
        self._index.add(list(ready), {key for key, claim in claims.items() if claim.claimed}, found)
        return ready

    def _read(self, keys: Iterable[str]) -> dict[str, _Item]:
        found = self._values.fetch(map(self._key, keys))
        return {key: _item(found.get(self._key(key))) for key in keys}

    def _key(self, key: str) -> Key:
        return self._keys.named(Kind.VALUE, key)

    def _write(self, key: str, stored: StoredValue, found: Found | None, now: float) -> Write:
        if stored.value is not None and stored.ends_at is None:
            return Write(self._key(key), stored.dump(), NEVER, found)
        ends_at = max(stored.ends_at or now, now) + _VERSION_SECONDS
        return Write(self._key(key), stored.dump(), exptime(ends_at, now), found)


class _Index:
    """The shards that list the keys of values."""

    def __init__(self, values: ValueStore, keys: Keys, clock: Clock, largest_bytes: int) -> None:
        self._values = values
        self._clock = clock
        self._largest_bytes = largest_bytes
        self._shards = [keys.named(Kind.INDEX, str(shard)) for shard in range(SHARDS)]

    def key_of(self, name: str) -> Key:
        """The shard of a key."""
        return self._shards[crc32(utf8(name)) % SHARDS]

    def fetch(self, step: int) -> dict[Key, Found]:
        """The shards of a step; without those that are not stored."""
        return self._values.fetch(self._shards[step * _STEP : (step + 1) * _STEP])

    def add(self, names: Sequence[str], claimed: set[str], found: Mapping[Key, Found]) -> None:
        """Let the shards list these keys.

        Args:
            names: the keys.
            claimed: rewrite the shards of these keys in any case, so that a sweep at the same time fails.
            found: the shards as they were read.

        Raises:
            ServiceRefused: a shard has no room.
            ServiceUnavailable: other processes changed a shard during all attempts.
        """
        by_shard: dict[Key, list[str]] = {}
        for name in names:
            by_shard.setdefault(self.key_of(name), []).append(name)
        for _ in attempts(self._clock):
            writes = []
            for key, new in by_shard.items():
                before = found.get(key)
                listed = dict.fromkeys(load_index(None if before is None else before.value))
                if not listed.keys() >= set(new) or not claimed.isdisjoint(new):
                    writes.append(Write(key, self._dump([*(listed | dict.fromkeys(new))]), NEVER, before))
            stored, found = self._values.change(writes, [write.key for write in writes])
            failed = [write.key for write, done in zip(writes, stored, strict=True) if not done]
            if not failed:
                return
            by_shard = {key: by_shard[key] for key in failed}
        raise contended("the index of values")

    def _dump(self, names: list[str]) -> bytes:
        data = dump_index(names)
        if len(data) > self._largest_bytes:
            raise ServiceRefused(
                f"no room for a new key: a shard of the index of values would list {len(names)} keys in {len(data)} "
                f"bytes, and largest_value_bytes is {self._largest_bytes}; remove values, or raise largest_value_bytes"
            )
        return data


def _item(found: Found | None) -> _Item:
    return _Item(None if found is None or found.value is None else StoredValue.load(found.value), found)


def _current(item: _Item, now: float) -> VersionedValue | None:
    return None if item.stored is None else item.stored.current(now)


def _sample(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_SWEPT else _random.sample(names, _MOST_SWEPT)


def _cursor(step: int, key: str) -> str:
    """The cursor of the page after this key of this step of the index."""
    return f"{step} {utf8(key).hex()}"


def _parsed(cursor: str | None) -> tuple[int, bytes | None]:
    """The step and the key, in UTF-8, after which a page begins; None: with the first key."""
    if cursor is None:
        return 0, None
    step, after = cursor.split(" ")
    return int(step), bytes.fromhex(after)
