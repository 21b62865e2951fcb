"""Entries by id, changed optimistically: read, decide, and compare-and-set; again where another process was first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import frozen

from drivetrain.contract import Clock
from drivetrain_memcache.codec import GroupHeader, StoredEntry, dump_entry, live, load_entry
from drivetrain_memcache.group_completion import Shard, shard_sizes
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.protocol import EXPIRED, exptime
from drivetrain_memcache.value_store import Found, ValueStore, Write, attempts, contended

__all__ = ["Change", "OptimisticStore"]

T = TypeVar("T")
A = TypeVar("A")

#: The items of a group may end later than its header, never earlier: a missing item of a known group means a loss.
_MARGIN_SECONDS = 5
#: Members of a group in one step of its deletion or of its expiry.
_MEMBERS = 10_000

#: A change: from an entry and the time to the new entry and an answer. Pure, because it may be called again.
#: The store writes nothing if the entry is the same object, and deletes it if it is None.
Change = Callable[[StoredEntry | None, float], tuple[StoredEntry | None, A]]


@frozen
class _Changed(Generic[T]):
    """One change that was made."""

    before: StoredEntry | None
    after: StoredEntry | None
    answer: T


class OptimisticStore:
    """Reads and changes entries by id. Thread-safe.

    When the end of an entry changes, the end of the shards and members of its group changes too.
    """

    def __init__(self, values: ValueStore, keys: Keys, clock: Clock) -> None:
        self._values = values
        self._keys = keys
        self._clock = clock

    def read(self, ids: Iterable[str]) -> dict[str, StoredEntry]:
        """The entries of these ids; without those that are unknown."""
        by_key = {self._keys.named(Kind.ENTRY, each): each for each in ids}
        found = self._values.fetch(by_key)
        now = self._clock.now()
        entries = {by_key[key]: _live(one, now) for key, one in found.items()}
        return {each: entry for each, entry in entries.items() if entry is not None}

    def change(self, changes: Mapping[str, Change[A]]) -> dict[str, A]:
        """Make these changes, each of them atomically; their answers by id.

        Raises:
            ServiceUnavailable: other processes changed an entry during all attempts.
        """
        remaining, done = dict(changes), dict[str, _Changed[A]]()
        for _ in attempts(self._clock):
            lost = self._try(remaining, done)
            if not lost:
                self._update_groups(done)
                return {each: changed.answer for each, changed in done.items()}
            remaining = {each: remaining[each] for each in lost}
        raise contended(f"the entry of {next(iter(remaining))!r}")

    def _try(self, changes: Mapping[str, Change[A]], done: dict[str, _Changed[A]]) -> list[str]:
        """Try each change once; the ids whose entry another process changed first."""
        keys = {each: self._keys.named(Kind.ENTRY, each) for each in changes}
        found = self._values.fetch(keys.values())
        now = self._clock.now()
        writes, ids = [], []
        for each, change in changes.items():
            stored = found.get(keys[each])
            before = _live(stored, now)
            after, answer = change(before, now)
            after = live(after, now)  # an entry that ends at once is deleted
            done[each] = _Changed(before, after, answer)
            if after is not before:
                writes.append(_write(keys[each], stored, after, now))
                ids.append(each)
        successes, _ = self._values.change(writes)
        return [each for each, success in zip(ids, successes, strict=True) if not success]

    # The items of groups

    def shard_keys(self, group_id: str, header: GroupHeader) -> list[Key]:
        """The keys of all shards of a group."""
        shards = range(len(shard_sizes(header.size)))
        return [self._keys.numbered(Kind.SHARD, group_id, header.tag, number) for number in shards]

    def member_keys(self, group_id: str, header: GroupHeader) -> Iterator[list[Key]]:
        """The keys of all members of a group, in order, in portions."""
        for first in range(0, header.size, _MEMBERS):
            some = range(first, min(first + _MEMBERS, header.size))
            yield [self._keys.numbered(Kind.MEMBER, group_id, header.tag, index) for index in some]

    def _update_groups(self, done: Mapping[str, _Changed[A]]) -> None:
        """Delete the items of groups that are gone, and change the end of the items of groups that will end."""
        for each, changed in done.items():
            before, after = _group(changed.before), _group(changed.after)
            if before is not None and (after is None or after.tag != before.tag):
                for keys in self._item_keys(each, before):
                    self._values.delete(keys)
            if after is not None and _ends(changed.after) != (_ends(changed.before) if before is after else None):
                ends = exptime(_ends(changed.after), self._clock.now(), _MARGIN_SECONDS)
                for keys in self._item_keys(each, after):
                    self._values.touch(keys, ends)

    def _item_keys(self, group_id: str, header: GroupHeader) -> Iterator[list[Key]]:
        """The keys of all items of a group but its header, in portions.

        It reads payloads only where one of them is split, or where the shard that says so is lost. Otherwise a server
        that evicts nothing would keep the parts for ever.
        """
        shard_keys = self.shard_keys(group_id, header)
        shards = self._values.fetch(shard_keys)
        split = any(key not in shards or Shard.load(shards[key].value or b"\0").split for key in shard_keys)
        # Shards first: a finisher that stores a payload and then misses the shard deletes the payload again. This loop
        # finds all payloads that were stored before.
        yield shard_keys
        for keys in self.member_keys(group_id, header):
            yield [*(self._values.parts(keys) if split else ()), *keys]


def _live(found: Found | None, now: float) -> StoredEntry | None:
    return None if found is None or not found.value else live(load_entry(found.value), now)


def _write(key: Key, found: Found | None, after: StoredEntry | None, now: float) -> Write:
    if after is None:
        return Write(key, b"", EXPIRED, found)
    return Write(key, dump_entry(after), exptime(after.ends_at, now), found)


def _group(entry: StoredEntry | None) -> GroupHeader | None:
    return None if entry is None else entry.group


def _ends(entry: StoredEntry | None) -> float | None:
    return None if entry is None else entry.ends_at
