"""Completions of one group, added to what its shards say. Pure but for its own progress; the I/O is in `groups`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from drivetrain.contract import Completion, GroupProgress
from drivetrain_memcache.entries import Head
from drivetrain_memcache.shards import Shard, place

__all__ = ["Completing"]


@define
class Completing:
    """A batch of completions of one group, in order.

    A member has failed when the completion that came first, whose payload is kept, has failed: `failures` says so.
    """

    group_id: str
    head: Head
    #: With their positions in the caller's batch.
    completions: Sequence[tuple[int, Completion]]
    #: Of each member of the batch, whether it has failed.
    failures: dict[int, bool] = field(factory=dict)
    #: The members of the batch whose payload is larger than an item.
    split: set[int] = field(factory=set)
    #: The shards that this batch has changed, as they were before.
    _before: dict[int, Shard] = field(factory=dict)
    #: Which members this batch has completed.
    _ours: set[int] = field(factory=set)
    #: All shards, as they were after all changes.
    _after: Mapping[int, Shard] = field(factory=dict)

    def firsts(self) -> dict[int, Completion]:
        """The first completion of each member that the group has."""
        firsts: dict[int, Completion] = {}
        for _, completion in self.completions:
            if 0 <= completion.member.index < self.head.size:
                firsts.setdefault(completion.member.index, completion)
        return firsts

    def open_members(self, shards: Mapping[int, Shard]) -> list[int]:
        """Members of the batch that are not complete yet."""
        return [index for index in self.firsts() if not _holds(shards, index)]

    def wanted(self, shards: Mapping[int, Shard]) -> dict[int, Shard]:
        """The shards that have to be changed, as they should be."""
        changed: dict[int, Shard] = {}
        for index in self.open_members(shards):
            number, position = place(index)
            shard = changed.get(number, shards[number])
            changed[number] = shard.complete(position, failed=self._fails(index), split=index in self.split)
        return changed

    def written(self, number: int, before: Shard) -> None:
        """This shard was changed as wanted."""
        self._before[number] = before
        self._ours.update(
            index for index in self.firsts() if place(index)[0] == number and not before.holds(place(index)[1])
        )

    def finish(self, shards: Mapping[int, Shard]) -> None:
        """All that was wanted is done, and after that the shards were these."""
        self._after = shards

    def given_up(self) -> dict[int, GroupProgress]:
        """What is answered where a shard is lost: that nothing more is to be waited for.

        Whether a member of another batch has failed the group is not looked for: who completed that one sees to it.
        """
        failed = any(self._fails(index) for index in self.failures)
        over = GroupProgress(size=self.head.size, done=self.head.size, failed=failed)
        return {position: over for position, _ in self.completions}

    def progress(self) -> dict[int, GroupProgress]:
        """How the group stood after each completion, by its position in the caller's batch."""
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
            answers[position] = GroupProgress(size=self.head.size, done=done, failed=failed)
        return answers

    def _failed_by_others(self, number: int) -> bool:
        if number in self._before and any(self._fails(index) for index in self._ours if place(index)[0] == number):
            return self._before[number].failed  # the rest of it is ours
        return self._after[number].failed

    def _fails(self, index: int) -> bool:
        return self.failures[index] and not self.head.collect


def _holds(shards: Mapping[int, Shard], index: int) -> bool:
    number, position = place(index)
    return shards[number].holds(position)


def by_group(completions: Iterable[Completion]) -> dict[str, list[tuple[int, Completion]]]:
    """The completions of each group, with their positions."""
    grouped: dict[str, list[tuple[int, Completion]]] = {}
    for position, completion in enumerate(completions):
        grouped.setdefault(completion.member.group_id, []).append((position, completion))
    return grouped
