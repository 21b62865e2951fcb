"""Versioned values: small values by key that change by compare-and-set.

A namespace has a fixed number of shards. Each has keys of one slot, so a cluster spreads the values over its nodes. A
hash of the key gives its shard. `lua/value_common.lua` describes the keys of a shard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any
from zlib import crc32

from drivetrain.contract import (
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    changed_values,
    check_value_sizes,
    chunks,
    utf8,
    whole_units,
)
from drivetrain_redis.codec import LARGEST_VALUE_BYTES
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import VALUE_SUFFIXES, Keys
from drivetrain_redis.scripts import LARGEST_BATCH, Call, Script
from drivetrain_redis.waiting import Waiting

__all__ = ["SHARDS", "Values"]

#: How many shards a namespace has. Stored data depends on it.
SHARDS = 16
#: How many keys a listing reads from one shard at most.
_MOST_LISTED = 500
#: About 10,000 years.
_LONGEST_SECONDS = 3e11
#: How long a caller that waits stays registered after its last look, in seconds. It looks more often than that.
_WATCHED_SECONDS = 60.0
#: A value that is to expire may be looked at again after this time, in seconds.
_SHORTEST_PAUSE_SECONDS = 0.005
#: The version and the end of a value, at the start of an entry.
_HEAD = struct.Struct(">dd")

_READ = Script.load("value_common", "read_values")
_WRITE = Script.load("value_common", "write_values")
_LIST = Script.load("value_common", "list_values")
_WATCH = Script.load("value_common", "watch_values")
_SWEEP = Script.load("value_common", "sweep_values")
_COUNT = Script.load("value_common", "count_values")


class Values:
    """The versioned values of a backend; see `drivetrain.contract.VersionedValues`. Thread-safe."""

    def __init__(self, client: Client, keys: Keys, waiting: Waiting) -> None:
        self._client = client
        self._waiting = waiting
        self._bases = [keys.values(shard) for shard in range(SHARDS)]
        self._suffixes = () if client.supports_cross_slot else VALUE_SUFFIXES

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `VersionedValues.read_values`."""
        found: dict[int, VersionedValue | None] = {}
        for part, (now, *entries) in self._run(_READ, [(utf8(key),) for key in keys]):
            found.update(zip(part, [_value(entry, now) for entry in entries], strict=True))
        return [found[index] for index in range(len(keys))]

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `VersionedValues.write_values`."""
        check_value_sizes(writes, LARGEST_VALUE_BYTES)
        outcomes: dict[int, ValueOutcome] = {}
        for part, (now, *reply) in self._run(_WRITE, [_arguments(write) for write in writes]):
            for index, version, entry in zip(part, reply[::2], reply[1::2], strict=True):
                outcomes[index] = _outcome(writes[index], version, _value(entry, now))
        return [outcomes[index] for index in range(len(writes))]

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `VersionedValues.list_values`. In the order of the keys' bytes, one step on every shard."""
        first = utf8(prefix)
        least = b"[" + first if cursor is None else b"(" + bytes.fromhex(cursor)
        # Twice the share of a shard, so that a page is seldom shorter than its limit. No key has the byte 0xFF.
        count = min(2 * limit // SHARDS + 1, _MOST_LISTED)
        passed: list[bytes] = []
        found: list[tuple[bytes, VersionedValue]] = []
        for now, *shards in self._run_on_shards(_LIST, least, b"(" + first + b"\xff", count):
            for last, *values in shards:
                passed += [] if last is None else [last]
                entries = zip(values[::2], values[1::2], strict=True)
                found += [(key, _unpack(entry, now)) for key, entry in entries]
        return _page(sorted(found, key=itemgetter(0)), min(passed, default=None), limit)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """See `VersionedValues.wait_values`."""
        topics = [(_shard(utf8(key)), b"k" + utf8(key)) for key in seen]
        if prefix is not None:
            topics += [(shard, b"p" + utf8(prefix)) for shard in range(SHARDS)]
        if not topics:
            return []
        channels: set[str] = set()

        def look(rest: float, channel: str) -> tuple[float, list[str]]:
            if channel:
                channels.add(channel)
                self._watch(topics, channel, _WATCHED_SECONDS)
            # A write after the registration ends the pause, and one before it is found now.
            changes = changed_values(self, seen, prefix)
            return max(_SHORTEST_PAUSE_SECONDS, min(rest, changes.ends_in_seconds)), list(changes.keys)

        keys = self._waiting.until(look, [], timeout_seconds, lambda _: [])
        for channel in channels:
            self._watch(topics, channel, 0.0)
        return keys

    def _watch(self, topics: Sequence[tuple[int, bytes]], channel: str, seconds: float) -> None:
        """Register a channel for this time, or remove it. A notification ends the registration too."""
        by_slot = self._client.by_slot([self._bases[shard] for shard, _ in topics])
        before = (channel, _microseconds(seconds))
        parts = [part for slot in by_slot for part in chunks(slot, LARGEST_BATCH)]
        calls = [self._call(_WATCH, [(topics[at][0], topics[at][1:]) for at in part], before) for part in parts]
        self._client.run(calls)

    def sweep(self) -> None:
        """Drop expired values, a limited number of each shard."""
        self._run_on_shards(_SWEEP)

    def count(self) -> int:
        """How many values are stored."""
        return sum(self._run_on_shards(_COUNT))

    def _run(self, script: Script, items: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Sequence[int], list[Any]]]:
        """Run a script on items, which begin with their key; the replies, each with the indexes of its items."""
        shards = [_shard(item[0]) for item in items]
        by_slot = self._client.by_slot([self._bases[shard] for shard in shards])
        parts = [part for slot in by_slot for part in chunks(slot, LARGEST_BATCH)]
        calls = [self._call(script, [(shards[index], items[index]) for index in part]) for part in parts]
        return zip(parts, self._client.run(calls), strict=True) if calls else iter(())

    def _call(self, script: Script, items: Sequence[tuple[int, tuple[Any, ...]]], before: tuple[Any, ...] = ()) -> Call:
        """A call with the arguments ``before``, and those of items, each with its shard."""
        positions: dict[int, int] = {}
        arguments: list[Any] = [*before]
        for shard, item in items:
            arguments += (positions.setdefault(shard, len(positions) + 1), *item)
        return script.call([self._bases[shard] for shard in positions], arguments, self._suffixes)

    def _run_on_shards(self, script: Script, *arguments: Any) -> list[Any]:
        parts = [[self._bases[shard] for shard in part] for part in self._client.by_slot(self._bases)]
        return self._client.run([script.call(bases, (len(bases), *arguments), self._suffixes) for bases in parts])


def _shard(key: bytes) -> int:
    return crc32(key) % SHARDS


def _arguments(write: ValueWrite) -> tuple[Any, ...]:
    if write.value is None:
        span = -1
    elif write.expires_in_seconds is None:
        span = 0
    else:
        span = max(1, _microseconds(write.expires_in_seconds))
    return utf8(write.key), "" if write.if_version is None else write.if_version, span, write.value or b""


def _outcome(write: ValueWrite, version: int, refusing: VersionedValue | None) -> ValueOutcome:
    if version < 0:
        return ValueOutcome(written=False, current=refusing)
    if write.value is None:
        return ValueOutcome(written=True, current=None)
    stored = VersionedValue(value=write.value, version=version, expires_in_seconds=write.expires_in_seconds)
    return ValueOutcome(written=True, current=stored)


def _value(entry: bytes | None, now: int) -> VersionedValue | None:
    return None if entry is None else _unpack(entry, now)


def _unpack(entry: bytes, now: int) -> VersionedValue:
    """The value of an entry of a shard; ``now`` is the server's time in microseconds."""
    version, ends = _HEAD.unpack_from(entry)
    expires = (ends - now) / 1e6 if ends else None
    return VersionedValue(value=entry[_HEAD.size :], version=int(version), expires_in_seconds=expires)


def _page(entries: list[tuple[bytes, VersionedValue]], passed: bytes | None, limit: int) -> ValuePage:
    """A page of entries in order; beyond the key ``passed``, some shards were not read."""
    known = [entry for entry in entries if passed is None or entry[0] <= passed]
    page = known[:limit]
    last = page[-1][0] if len(known) > limit else passed
    values = [(key.decode("utf-8", "surrogatepass"), value) for key, value in page]
    return ValuePage(values=values, cursor=None if last is None else last.hex())


def _microseconds(seconds: float) -> int:
    return whole_units(seconds, per_second=1_000_000, longest_seconds=_LONGEST_SECONDS)
