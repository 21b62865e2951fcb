"""Which members of a group are complete, and what a batch of completions makes of that. Pure.

A group has a bit for each member, in shards. A shard is one item and is changed by compare-and-set. All but the largest
groups have one shard, so that a completion and the count in its answer are one atomic step. No change rewrites more
than one shard, however large the group is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, evolve, field, frozen

from drivetrain.contract import Completion, GroupProgress
from drivetrain_memcache.codec import GroupHeader

__all__ = ["LARGEST_GROUP", "SHARD", "GroupCompletion", "Shard", "by_group", "is_complete", "shard_of", "shard_sizes"]

#: Members of a shard; their bits have 2 kB.
SHARD = 16 * 1024
#: A limit that no real group reaches, and whose shards fit into one batch.
LARGEST_GROUP = 1_000_000

_FAILED, _SPLIT = 1, 2


@frozen
class Shard:
    """The state of up to `SHARD` members that follow each other."""

    #: Bit n: the n-th member of the shard is complete.
    bits: int = 0
    #: Whether one of them has failed the group.
    failed: bool = False
    #: Whether the payload of one of them is split, so that its parts must be deleted with it.
    split: bool = False

    @property
    def done(self) -> int:
        """How many members are complete."""
        return self.bits.bit_count()

    def holds(self, position: int) -> bool:
        """Whether the member at this position is complete."""
        return bool(self.bits >> position & 1)

    def complete(self, position: int, *, failed: bool, split: bool = False) -> Shard:
        """The shard after this member is complete."""
        bits = self.bits | 1 << position
        return evolve(self, bits=bits, failed=self.failed or failed, split=self.split or split)

    def dump(self) -> bytes:
        """The shard as bytes: one for the two flags, then the bits."""
        flags = self.failed * _FAILED | self.split * _SPLIT
        return bytes([flags]) + self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")

    @classmethod
    def load(cls, data: bytes) -> Shard:
        """The shard from its bytes."""
        return cls(int.from_bytes(data[1:], "little"), bool(data[0] & _FAILED), bool(data[0] & _SPLIT))


def shard_sizes(size: int) -> list[int]:
    """The number of members in each shard of a group of ``size``. An empty group has one shard too."""
    full, rest = divmod(size, SHARD)
    return [SHARD] * full + ([rest] if rest or not full else [])


def shard_of(index: int) -> tuple[int, int]:
    """The number of a member's shard, and its position there."""
    return divmod(index, SHARD)


def is_complete(shards: Mapping[int, Shard], index: int) -> bool:
    """Whether a member is complete, by the shards of its group."""
    number, position = shard_of(index)
    return shards[number].holds(position)


@define
class GroupCompletion:
    """A batch of completions of one group, in order, and its progress. Not thread-safe.

    The first completion of a member decides: its payload is stored, and `failures` says whether that is a failure.
    """

    group_id: str
    header: GroupHeader
    #: Each with its position in the caller's batch.
    completions: Sequence[tuple[int, Completion]]
    #: For each member of the batch, whether it has failed.
    failures: dict[int, bool] = field(factory=dict)
    #: The members of the batch whose payload is split.
    split: set[int] = field(factory=set)
    #: The shards that this batch has changed, as they were before.
    _before: dict[int, Shard] = field(factory=dict)
    #: The members that this batch has completed.
    _ours: set[int] = field(factory=set)
    #: All shards after all changes of this batch.
    _after: Mapping[int, Shard] = field(factory=dict)

    def firsts(self) -> dict[int, Completion]:
        """The first completion of each member; without indexes that the group does not have."""
        firsts: dict[int, Completion] = {}
        for _, completion in self.completions:
            if 0 <= completion.member.index < self.header.size:
                firsts.setdefault(completion.member.index, completion)
        return firsts

    def changed(self, shards: Mapping[int, Shard]) -> dict[int, Shard]:
        """The shards that this batch has to change, as they must become."""
        changed: dict[int, Shard] = {}
        for index in self.firsts():
            if not is_complete(shards, index):
                number, position = shard_of(index)
                shard = changed.get(number, shards[number])
                changed[number] = shard.complete(position, failed=self._fails(index), split=index in self.split)
        return changed

    def written(self, number: int, before: Shard) -> None:
        """Note that the change of one shard succeeded."""
        self._before[number] = before
        members = (index for index in self.firsts() if shard_of(index)[0] == number)
        self._ours.update(index for index in members if not before.holds(shard_of(index)[1]))

    def finish(self, shards: Mapping[int, Shard]) -> None:
        """Note that all changes succeeded, and the shards after them."""
        self._after = shards

    def lost(self) -> dict[int, GroupProgress]:
        """The answers where a shard is lost: the group counts as complete, because nobody can count any more.

        It ignores failures of members outside this batch: the finisher of such a member handles that failure.
        """
        failed = any(self._fails(index) for index in self.failures)
        complete = GroupProgress(size=self.header.size, done=self.header.size, failed=failed)
        return {position: complete for position, _ in self.completions}

    def progress(self) -> dict[int, GroupProgress]:
        """The state of the group after each completion, by position in the caller's batch."""
        done = sum(shard.done for shard in self._after.values()) - len(self._ours)
        failed = any(self._failed_by_others(number) for number in self._after)
        counted: set[int] = set()
        answers = {}
        for position, completion in self.completions:
            index = completion.member.index
            if index in self._ours and index not in counted:
                counted.add(index)
                done += 1
                failed = failed or self._fails(index)
            answers[position] = GroupProgress(size=self.header.size, done=done, failed=failed)
        return answers

    def _failed_by_others(self, number: int) -> bool:
        if number in self._before and any(self._fails(index) for index in self._ours if shard_of(index)[0] == number):
            return self._before[number].failed  # a failure since then is ours
        return self._after[number].failed

    def _fails(self, index: int) -> bool:
        return self.failures[index] and not self.header.collect


def by_group(completions: Iterable[Completion]) -> dict[str, list[tuple[int, Completion]]]:
    """The completions of each group, with their positions."""
    grouped: dict[str, list[tuple[int, Completion]]] = {}
    for position, completion in enumerate(completions):
        grouped.setdefault(completion.member.group_id, []).append((position, completion))
    return grouped
