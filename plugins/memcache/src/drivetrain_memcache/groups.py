"""Groups and their members.

A completion is: the member's payload, if nobody has stored one; then its bit, by compare-and-set. So a bit that is
set has a payload, and of several completions of one member the first stands. Who sees all bits says that the group is
complete; that several do is no harm, that none does cannot be: the last one to set a bit reads all shards afterwards.

Memcached drops what it has no room for. Where a shard is missing nobody can tell any more when the group is complete,
so whoever completes a member is told that it is: nothing more is to be waited for. Whoever goes on then reads the
members; what is missing there is None, by which core knows that a result is lost, and ends all that waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve

from drivetrain.contract import (
    Clock,
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    ServiceRefused,
    ServiceUnavailable,
)
from drivetrain_memcache import members
from drivetrain_memcache.catalogue import ROUNDS, Catalogue, Change, pause
from drivetrain_memcache.completing import Completing, by_group
from drivetrain_memcache.entries import Head, Kept
from drivetrain_memcache.keys import Key, Keys, Kind, fresh
from drivetrain_memcache.shards import LARGEST_GROUP, Shard, place
from drivetrain_memcache.store import Found, Store, Write

__all__ = ["Groups"]


class Groups:
    """See the module. Thread-safe."""

    def __init__(self, store: Store, catalogue: Catalogue, keys: Keys, clock: Clock) -> None:
        self._store = store
        self._catalogue = catalogue
        self._keys = keys
        self._clock = clock

    # Opening

    def open(self, groups: Sequence[Group]) -> None:
        """See `drivetrain.contract.Backend.open_groups`."""
        for group in groups:
            if not 0 <= group.size <= LARGEST_GROUP:
                raise ServiceRefused(f"a group of {group.size} members cannot be kept; the largest has {LARGEST_GROUP}")
        firsts = {group.group_id: group for group in reversed(groups)}
        heads = {each: Head.of_group(group, fresh()) for each, group in firsts.items()}
        # Before its head: who finds the head and misses a shard takes the group for lost.
        self._store.put_new(
            {key: Shard().dump() for each, head in heads.items() for key in self._shard_keys(each, head)}
        )
        opened = self._catalogue.change({each: _opening(head) for each, head in heads.items()})
        vain = [key for each, mine in opened.items() if not mine for key in self._shard_keys(each, heads[each])]
        self._store.delete(vain)

    # Completing

    def complete(self, completions: Sequence[Completion]) -> list[GroupProgress | None]:
        """See `drivetrain.contract.Backend.complete`."""
        grouped = by_group(completions)
        batch = [Completing(each, head, grouped[each]) for each, head in self._heads(grouped).items()]
        shards = self._store_payloads(batch)
        lost = self._set_bits(batch, shards)
        gone = self._gone([one for one in batch if one.group_id in lost])
        answers: dict[int, GroupProgress] = {}
        for one in batch:
            if one.group_id not in gone:
                answers.update(one.given_up() if one.group_id in lost else one.progress())
        return [answers.get(position) for position in range(len(completions))]

    def _gone(self, lost: Sequence[Completing]) -> set[str]:
        """Those of which all is gone because they were forgotten meanwhile; what came too late is dropped."""
        if not lost:
            return set()
        heads = self._heads(one.group_id for one in lost)
        gone = [one for one in lost if one.group_id not in heads or heads[one.group_id].of != one.head.of]
        late = [self._member_key(one, index) for one in gone for index in one.firsts()]
        self._store.delete([*self._store.parts(late), *late])
        return {one.group_id for one in gone}

    def _store_payloads(self, batch: Sequence[Completing]) -> dict[Key, Found]:
        """Store the payload of each member that has none, and find out which have failed.

        Returns:
            All shards, as they are then.
        """
        firsts = [
            (one, index, completion, self._member_key(one, index))
            for one in batch
            for index, completion in one.firsts().items()
        ]
        writes = [
            Write(key, members.dump(completion.payload, failed=completion.failed)) for _, _, completion, key in firsts
        ]
        stored, shards = self._store.change(writes, [key for one in batch for key in self._keys_of(one)])
        earlier = [key for (_, _, _, key), fine in zip(firsts, stored, strict=True) if not fine]
        told = self._store.fetch(earlier) if earlier else {}
        for (one, index, completion, key), write in zip(firsts, writes, strict=True):
            first = told[key].value if key in told else None
            one.failures[index] = completion.failed if first is None else members.failed(first)
            if self._store.splits(write.value if first is None else first):
                one.split.add(index)
        return shards

    def _set_bits(self, batch: Sequence[Completing], found: dict[Key, Found]) -> list[str]:
        """Set the bits of all members; the groups that are found to be lost meanwhile."""
        lost: list[str] = []
        left = list(batch)
        for number in range(ROUNDS):
            pause(self._clock, number)
            whole = [one for one in left if self._shards_of(one, found) is not None]
            lost += [one.group_id for one in left if self._shards_of(one, found) is None]
            left = self._try(whole, found, lost)
            if not left:
                return lost
            found = self._store.fetch(key for one in left for key in self._keys_of(one))
        raise ServiceUnavailable(f"the group {left[0].group_id!r} is changed by others without end; try again")

    def _try(self, batch: Sequence[Completing], found: Mapping[Key, Found], lost: list[str]) -> list[Completing]:
        """Try to set all bits once; the groups where somebody else was faster."""
        wanted = [(one, self._shards_of(one, found) or {}) for one in batch]
        writes = [
            (one, number, shards[number], Write(key, after.dump(), before=found[key]))
            for one, shards in wanted
            for number, after in one.wanted(shards).items()
            for key in [self._keys_of(one)[number]]
        ]
        # Where a group has several shards, they are all read after the last of them is written. Otherwise two who set
        # the last bits of two shards might each read the other's too early, and nobody would see the group complete.
        several = [key for one in batch if len(self._keys_of(one)) > 1 for key in self._keys_of(one)]
        stored, now = self._store.change([write for *_, write in writes], several)
        slower = set()
        for (one, number, before, _), fine in zip(writes, stored, strict=True):
            if fine:
                one.written(number, before)
            else:
                slower.add(one.group_id)
        for one, shards in wanted:
            if one.group_id not in slower:
                after = self._shards_of(one, now) if len(shards) > 1 else {**shards, **one.wanted(shards)}
                lost += [one.group_id] if after is None else []
                one.finish(after or {})
        return [one for one in batch if one.group_id in slower]

    def _payloads(self, group_id: str, head: Head) -> Iterator[bytes | None]:
        """The payloads of all members that are there, also of those that are not complete yet."""
        for keys in self._catalogue.member_keys(group_id, head):
            found = self._store.fetch(keys)
            yield from (_payload(found.get(key)) for key in keys)

    # Reading

    def read(self, group_ids: Sequence[str]) -> list[GroupRecord | None]:
        """See `drivetrain.contract.Backend.read_groups`."""
        kept = self._catalogue.read(group_ids)
        heads = {each: one.group for each, one in kept.items() if one.group is not None}
        keys = {each: self._shard_keys(each, head) for each, head in heads.items()}
        found = self._store.fetch(key for some in keys.values() for key in some)
        groups = {}
        for each, head in heads.items():
            shards = [_shard(found[key]) for key in keys[each] if key in found]
            failed = any(shard.failed for shard in shards)
            # Of a group that has ended nobody need know it; and all who are late would read the members of a large one.
            if not failed and len(shards) < len(keys[each]) and not _ended(kept[each]):
                failed = self._has_failed(each, head)
            groups[each] = _group_record(each, head, shards, failed=failed)
        return [groups.get(each) for each in group_ids]

    def _has_failed(self, group_id: str, head: Head) -> bool:
        """Whether the payload of one of the members says that it has failed the group: a lost shard cannot."""
        return not head.collect and any(
            one.value is not None and members.failed(one.value)
            for keys in self._catalogue.member_keys(group_id, head)
            for one in self._store.fetch(keys).values()
        )

    def read_members(self, group_id: str) -> list[bytes | None]:
        """See `drivetrain.contract.Backend.read_members`. None also for a payload that Memcached has dropped."""
        head = self._heads([group_id]).get(group_id)
        if head is None:
            return []
        shard_keys = self._shard_keys(group_id, head)
        found = self._store.fetch(shard_keys)  # before the payloads: who is complete then has one
        shards = {number: _shard(found[key]) for number, key in enumerate(shard_keys) if key in found}
        # Where a shard is lost no bits are set any more: then the payloads say who is complete.
        lost = len(shards) < len(shard_keys)
        stored = enumerate(self._payloads(group_id, head))
        return [payload if lost or _holds(shards, index) else None for index, payload in stored]

    # Keys

    def _heads(self, group_ids: Iterable[str]) -> dict[str, Head]:
        kept = self._catalogue.read(group_ids)
        return {each: one.group for each, one in kept.items() if one.group is not None}

    def _shard_keys(self, group_id: str, head: Head) -> list[Key]:
        return self._catalogue.shard_keys(group_id, head)

    def _keys_of(self, one: Completing) -> list[Key]:
        return self._shard_keys(one.group_id, one.head)

    def _member_key(self, one: Completing, index: int) -> Key:
        return self._keys.numbered(Kind.MEMBER, one.group_id, one.head.of, index)

    def _shards_of(self, one: Completing, found: Mapping[Key, Found]) -> dict[int, Shard] | None:
        """The shards of a group; None: it is lost."""
        keys = self._keys_of(one)
        if any(key not in found for key in keys):
            return None
        return {number: _shard(found[key]) for number, key in enumerate(keys)}


def _opening(head: Head) -> Change[bool]:
    def change(kept: Kept | None, now: float) -> tuple[Kept | None, bool]:
        del now
        if kept is not None and kept.group is not None:
            return kept, kept.group.of == head.of
        return evolve(kept or Kept(), group=head), True

    return change


def _payload(found: Found | None) -> bytes | None:
    return None if found is None or not found.value else members.payload(found.value)


def _shard(found: Found) -> Shard:
    return Shard.load(found.value or b"\0")


def _holds(shards: Mapping[int, Shard], index: int) -> bool:
    number, position = place(index)
    return shards[number].holds(position)


def _ended(kept: Kept) -> bool:
    return kept.record is not None and kept.record.state.terminal


def _group_record(group_id: str, head: Head, shards: Sequence[Shard], *, failed: bool) -> GroupRecord:
    return GroupRecord(
        group_id=group_id,
        size=head.size,
        collect=head.collect,
        continuation=head.continuation,
        done=sum(shard.done for shard in shards),
        failed=failed,
    )
