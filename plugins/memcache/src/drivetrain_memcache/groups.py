"""Groups and their members.

A completion first stores the member's payload, unless there is one; then it sets the member's bit by compare-and-set.
So a set bit has a payload, and the first of several completions of one member counts. A finisher that reads all bits
as set reports the group as complete. At least one finisher, possibly several, does so: the one that sets the last bit
reads all shards afterwards.

Memcached evicts items when its memory is full. Where a shard is missing, nobody can count the members any more. Then
every completion reports the group as complete, so that nobody waits for ever. The next step reads the members; a
missing payload is None there, and core ends the waiting tasks with ResultLost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve

from drivetrain.contract import Clock, Completion, Group, GroupProgress, GroupRecord, ServiceRefused
from drivetrain_memcache.codec import GroupHeader, StoredEntry, dump_member, member_failed, member_payload
from drivetrain_memcache.group_completion import LARGEST_GROUP, GroupCompletion, Shard, by_group, is_complete
from drivetrain_memcache.keys import Key, Keys, Kind, new_tag
from drivetrain_memcache.optimistic_store import Change, OptimisticStore
from drivetrain_memcache.value_store import Found, ValueStore, Write, attempts, contended

__all__ = ["Groups"]


class Groups:
    """Opens, completes and reads groups. Thread-safe."""

    def __init__(self, values: ValueStore, entries: OptimisticStore, keys: Keys, clock: Clock) -> None:
        self._values = values
        self._entries = entries
        self._keys = keys
        self._clock = clock

    # Opening

    def open(self, groups: Sequence[Group]) -> None:
        """See `drivetrain.contract.Backend.open_groups`."""
        for group in groups:
            if not 0 <= group.size <= LARGEST_GROUP:
                raise ServiceRefused(
                    f"the group {group.group_id!r} has {group.size} members; use at most {LARGEST_GROUP}"
                )
        firsts = {group.group_id: group for group in reversed(groups)}
        headers = {each: GroupHeader.of_group(group, new_tag()) for each, group in firsts.items()}
        # Before the headers: a process that finds a header and misses a shard takes the group for lost.
        self._values.put_new(
            {key: Shard().dump() for each, header in headers.items() for key in self._entries.shard_keys(each, header)}
        )
        opened = self._entries.change({each: _opening(header) for each, header in headers.items()})
        unused = [
            key for each, by_us in opened.items() if not by_us for key in self._entries.shard_keys(each, headers[each])
        ]
        self._values.delete(unused)

    # Completing

    def complete(self, completions: Sequence[Completion]) -> list[GroupProgress | None]:
        """See `drivetrain.contract.Backend.complete`."""
        grouped = by_group(completions)
        batch = [GroupCompletion(each, header, grouped[each]) for each, header in self._headers(grouped).items()]
        shards = self._store_payloads(batch)
        lost = self._set_bits(batch, shards)
        forgotten = self._clean_forgotten([one for one in batch if one.group_id in lost])
        answers: dict[int, GroupProgress] = {}
        for one in batch:
            if one.group_id not in forgotten:
                answers.update(one.lost() if one.group_id in lost else one.progress())
        return [answers.get(position) for position in range(len(completions))]

    def _clean_forgotten(self, lost: Sequence[GroupCompletion]) -> set[str]:
        """The groups that were forgotten during this call. It deletes the payloads that this call stored too late."""
        if not lost:
            return set()
        headers = self._headers(one.group_id for one in lost)
        forgotten = [one for one in lost if one.group_id not in headers or headers[one.group_id].tag != one.header.tag]
        late = [self._member_key(one, index) for one in forgotten for index in one.firsts()]
        self._values.delete([*self._values.parts(late), *late])
        return {one.group_id for one in forgotten}

    def _store_payloads(self, batch: Sequence[GroupCompletion]) -> dict[Key, Found]:
        """Store the payload of each member that has none, and note which members have failed.

        Returns:
            All shards afterwards.
        """
        firsts = [
            (one, index, completion, self._member_key(one, index))
            for one in batch
            for index, completion in one.firsts().items()
        ]
        writes = [
            Write(key, dump_member(completion.payload, failed=completion.failed)) for _, _, completion, key in firsts
        ]
        stored, shards = self._values.change(writes, [key for one in batch for key in self._shard_keys(one)])
        earlier = [key for (_, _, _, key), done in zip(firsts, stored, strict=True) if not done]
        found = self._values.fetch(earlier) if earlier else {}
        for (one, index, completion, key), write in zip(firsts, writes, strict=True):
            first = found[key].value if key in found else None
            one.failures[index] = completion.failed if first is None else member_failed(first)
            if self._values.splits(write.value if first is None else first):
                one.split.add(index)
        return shards

    def _set_bits(self, batch: Sequence[GroupCompletion], found: dict[Key, Found]) -> list[str]:
        """Set the bits of all members; the ids of the groups that have lost a shard."""
        lost: list[str] = []
        remaining = list(batch)
        for _ in attempts(self._clock):
            countable = [one for one in remaining if self._shards_of(one, found) is not None]
            lost += [one.group_id for one in remaining if self._shards_of(one, found) is None]
            remaining = self._try(countable, found, lost)
            if not remaining:
                return lost
            found = self._values.fetch(key for one in remaining for key in self._shard_keys(one))
        raise contended(f"the group {remaining[0].group_id!r}")

    def _try(
        self, batch: Sequence[GroupCompletion], found: Mapping[Key, Found], lost: list[str]
    ) -> list[GroupCompletion]:
        """Try to set all bits once; the groups where another process changed a shard first."""
        before = [(one, self._shards_of(one, found) or {}) for one in batch]
        writes = [
            (one, number, shards[number], Write(key, after.dump(), before=found[key]))
            for one, shards in before
            for number, after in one.changed(shards).items()
            for key in [self._shard_keys(one)[number]]
        ]
        # Read all shards of a large group after the last write. Otherwise two finishers that set the last bits of two
        # shards could each read the other's shard too early, and nobody would report the group as complete.
        several = [key for one in batch if len(self._shard_keys(one)) > 1 for key in self._shard_keys(one)]
        stored, now = self._values.change([write for *_, write in writes], several)
        outrun = set()
        for (one, number, shard, _), done in zip(writes, stored, strict=True):
            if done:
                one.written(number, shard)
            else:
                outrun.add(one.group_id)
        for one, shards in before:
            if one.group_id not in outrun:
                after = self._shards_of(one, now) if len(shards) > 1 else {**shards, **one.changed(shards)}
                lost += [one.group_id] if after is None else []
                one.finish(after or {})
        return [one for one in batch if one.group_id in outrun]

    # Reading

    def read(self, group_ids: Sequence[str]) -> list[GroupRecord | None]:
        """See `drivetrain.contract.Backend.read_groups`."""
        entries = self._entries.read(group_ids)
        headers = {each: entry.group for each, entry in entries.items() if entry.group is not None}
        keys = {each: self._entries.shard_keys(each, header) for each, header in headers.items()}
        found = self._values.fetch(key for some in keys.values() for key in some)
        groups = {}
        for each, header in headers.items():
            shards = [_shard(found[key]) for key in keys[each] if key in found]
            failed = any(shard.failed for shard in shards)
            # Not for a group that has ended: nobody needs it, and every late reader would read all its members.
            if not failed and len(shards) < len(keys[each]) and not _ended(entries[each]):
                failed = self._has_failed(each, header)
            groups[each] = _group_record(each, header, shards, failed=failed)
        return [groups.get(each) for each in group_ids]

    def _has_failed(self, group_id: str, header: GroupHeader) -> bool:
        """Whether a member has failed the group, by the payloads: a lost shard cannot say it."""
        return not header.collect and any(
            one.value is not None and member_failed(one.value)
            for keys in self._entries.member_keys(group_id, header)
            for one in self._values.fetch(keys).values()
        )

    def read_members(self, group_id: str) -> list[bytes | None]:
        """See `drivetrain.contract.Backend.read_members`. A payload that Memcached has dropped is None too."""
        header = self._headers([group_id]).get(group_id)
        if header is None:
            return []
        shard_keys = self._entries.shard_keys(group_id, header)
        found = self._values.fetch(shard_keys)  # before the payloads: a member that is complete by now has one
        shards = {number: _shard(found[key]) for number, key in enumerate(shard_keys) if key in found}
        # Without all shards nobody sets bits any more. Then a stored payload means that the member is complete.
        lost = len(shards) < len(shard_keys)
        stored = enumerate(self._payloads(group_id, header))
        return [payload if lost or is_complete(shards, index) else None for index, payload in stored]

    def _payloads(self, group_id: str, header: GroupHeader) -> Iterator[bytes | None]:
        """The stored payloads of all members, in order; also of members that are not complete yet."""
        for keys in self._entries.member_keys(group_id, header):
            found = self._values.fetch(keys)
            yield from (_payload(found.get(key)) for key in keys)

    # Keys

    def _headers(self, group_ids: Iterable[str]) -> dict[str, GroupHeader]:
        entries = self._entries.read(group_ids)
        return {each: entry.group for each, entry in entries.items() if entry.group is not None}

    def _shard_keys(self, one: GroupCompletion) -> list[Key]:
        return self._entries.shard_keys(one.group_id, one.header)

    def _member_key(self, one: GroupCompletion, index: int) -> Key:
        return self._keys.numbered(Kind.MEMBER, one.group_id, one.header.tag, index)

    def _shards_of(self, one: GroupCompletion, found: Mapping[Key, Found]) -> dict[int, Shard] | None:
        """The shards of a group; None if one is lost."""
        keys = self._shard_keys(one)
        if any(key not in found for key in keys):
            return None
        return {number: _shard(found[key]) for number, key in enumerate(keys)}


def _opening(header: GroupHeader) -> Change[bool]:
    """Open a group; the answer is whether this call opened it."""

    def change(entry: StoredEntry | None, now: float) -> tuple[StoredEntry | None, bool]:
        del now
        if entry is not None and entry.group is not None:
            return entry, entry.group.tag == header.tag
        return evolve(entry or StoredEntry(), group=header), True

    return change


def _payload(found: Found | None) -> bytes | None:
    return None if found is None or not found.value else member_payload(found.value)


def _shard(found: Found) -> Shard:
    return Shard.load(found.value or b"\0")


def _ended(entry: StoredEntry) -> bool:
    return entry.record is not None and entry.record.state.terminal


def _group_record(group_id: str, header: GroupHeader, shards: Sequence[Shard], *, failed: bool) -> GroupRecord:
    return GroupRecord(
        group_id=group_id,
        size=header.size,
        collect=header.collect,
        continuation=header.continuation,
        done=sum(shard.done for shard in shards),
        failed=failed,
    )
