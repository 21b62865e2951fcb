"""What is kept under ids, read and changed: optimistically, and again for those where somebody else was faster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Generic, TypeVar

from attrs import frozen

from drivetrain.contract import Clock, ServiceUnavailable
from drivetrain_memcache import entries
from drivetrain_memcache.entries import Head, Kept
from drivetrain_memcache.expiry import AT_ONCE, exptime
from drivetrain_memcache.keys import Key, Keys, Kind
from drivetrain_memcache.shards import Shard, sizes
from drivetrain_memcache.store import Found, Store, Write

__all__ = ["ROUNDS", "Catalogue", "Change", "pause"]

T = TypeVar("T")
A = TypeVar("A")

#: How often a change is tried whose item somebody else has changed meanwhile. In each round somebody gets through.
ROUNDS = 200
#: After so many rounds it helps to stand back for a moment, in seconds.
_PATIENT_ROUNDS = 3
_LONGEST_PAUSE_SECONDS = 0.005
#: What belongs to a group may be cleared away later than its head, never earlier: what is missing of a group is a loss.
_MARGIN_SECONDS = 5
#: Members of a group that are seen to at once.
_MEMBERS = 10_000

#: From what is kept under an id, and the time, to what is to be kept, and the answer. Pure: it may be called again.
#: What is returned as it was is not written; None drops it.
Change = Callable[[Kept | None, float], tuple[Kept | None, A]]


@frozen
class _Changed(Generic[T]):
    """A change that was made."""

    before: Kept | None
    after: Kept | None
    answer: T


_random = Random()


def pause(clock: Clock, number: int) -> None:
    """Before the round of this number, stand back if many want to change the same."""
    if number > _PATIENT_ROUNDS:
        clock.wait_event(threading.Event(), _random.uniform(0, _LONGEST_PAUSE_SECONDS))


class Catalogue:
    """See the module. Thread-safe."""

    def __init__(self, store: Store, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def read(self, ids: Iterable[str]) -> dict[str, Kept]:
        """What is kept under these ids; those of which nothing is known are left out."""
        by_key = {self._keys.named(Kind.ENTRY, each): each for each in ids}
        found = self._store.fetch(by_key)
        now = self._clock.now()
        kept = {by_key[key]: self._live(by_key[key], one, now) for key, one in found.items()}
        return {each: one for each, one in kept.items() if one is not None}

    def change(self, changes: Mapping[str, Change[A]]) -> dict[str, A]:
        """Make these changes, each atomically; their answers.

        Raises:
            ServiceUnavailable: others change the same without end.
        """
        left, done = dict(changes), dict[str, _Changed[A]]()
        for number in range(ROUNDS):
            pause(self._clock, number)
            lost = self._try(left, done)
            if not lost:
                self._see_to_groups(done)
                return {each: changed.answer for each, changed in done.items()}
            left = {each: left[each] for each in lost}
        raise ServiceUnavailable(f"what is kept under {next(iter(left))!r} is changed by others without end; try again")

    def _try(self, changes: Mapping[str, Change[A]], done: dict[str, _Changed[A]]) -> list[str]:
        """Try each change once; the ids where somebody else was faster."""
        keys = {each: self._keys.named(Kind.ENTRY, each) for each in changes}
        found = self._store.fetch(keys.values())
        now = self._clock.now()
        writes, ids = [], []
        for each, change in changes.items():
            slot = found.get(keys[each])
            before = self._live(each, slot, now)
            after, answer = change(before, now)
            after = entries.live(after, now)  # what ends at once is not kept
            done[each] = _Changed(before, after, answer)
            if after is not before:
                writes.append(_write(keys[each], slot, after, now))
                ids.append(each)
        stored, _ = self._store.change(writes)
        return [each for each, fine in zip(ids, stored, strict=True) if not fine]

    def _live(self, each: str, found: Found | None, now: float) -> Kept | None:
        if found is None or not found.value:
            return None
        return entries.live(entries.load(each, found.value), now)

    # What belongs to groups

    def shard_keys(self, group_id: str, head: Head) -> list[Key]:
        """The keys of all shards of a group."""
        return [self._keys.numbered(Kind.SHARD, group_id, head.of, number) for number in range(len(sizes(head.size)))]

    def member_keys(self, group_id: str, head: Head) -> Iterator[list[Key]]:
        """The keys of all members of a group, in order, some at a time."""
        for first in range(0, head.size, _MEMBERS):
            some = range(first, min(first + _MEMBERS, head.size))
            yield [self._keys.numbered(Kind.MEMBER, group_id, head.of, index) for index in some]

    def _see_to_groups(self, done: Mapping[str, _Changed[A]]) -> None:
        """What has gone, or will go, takes the shards and members of its group with it."""
        for each, changed in done.items():
            before, after = _group(changed.before), _group(changed.after)
            if before is not None and (after is None or after.of != before.of):
                for keys in self._items(each, before):
                    self._store.delete(keys)
            if after is not None and _ends(changed.after) != (_ends(changed.before) if before is after else None):
                ends = exptime(_ends(changed.after), self._clock.now(), _MARGIN_SECONDS)
                for keys in self._items(each, after):
                    self._store.touch(keys, ends)

    def _items(self, group_id: str, head: Head) -> Iterator[list[Key]]:
        """The keys of all that belongs to a group but its head, some at a time.

        Payloads are read only where one of them has parts, or where the shard that would say so is lost: a server that
        drops nothing by itself would keep the parts for ever.
        """
        shard_keys = self.shard_keys(group_id, head)
        shards = self._store.fetch(shard_keys)
        split = any(key not in shards or Shard.load(shards[key].value or b"\0").split for key in shard_keys)
        # Shards go first: who stores a payload and finds its shard gone drops it again, and all others are seen here.
        yield shard_keys
        for keys in self.member_keys(group_id, head):
            yield [*(self._store.parts(keys) if split else ()), *keys]


def _write(key: Key, slot: Found | None, after: Kept | None, now: float) -> Write:
    if after is None:
        return Write(key, b"", AT_ONCE, slot)
    return Write(key, entries.dump(after), exptime(after.ends_at, now), slot)


def _group(kept: Kept | None) -> Head | None:
    return None if kept is None else kept.group


def _ends(kept: Kept | None) -> float | None:
    return None if kept is None else kept.ends_at
