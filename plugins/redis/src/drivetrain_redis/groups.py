"""Groups of tasks: opened, completed member by member, and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivetrain.contract import Completion, Group, GroupProgress, GroupRecord, check_size
from drivetrain_redis.codec import LARGEST_VALUE_BYTES
from drivetrain_redis.connection import Client
from drivetrain_redis.keys import Keys, TaskKeys
from drivetrain_redis.scripts import LARGEST_BATCH, Script, command

__all__ = ["Groups", "unpack_progress"]

_OPEN_GROUPS = Script.load("record_common", "open_groups")
_COMPLETE = Script.load("record_common", "complete")


class Groups:
    """The groups of a backend. Thread-safe."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._tasks = TaskKeys(client)

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups:
            check_size("a continuation", group.continuation, LARGEST_VALUE_BYTES)
        keys = [self._keys.task(group.group_id) for group in groups]
        self._tasks.run(_OPEN_GROUPS, keys, lambda index: _fields(groups[index]))

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        for completion in completions:
            check_size("a payload", completion.payload, LARGEST_VALUE_BYTES)
        keys = [self._keys.group(completion.member.group_id) for completion in completions]
        progress: dict[int, GroupProgress | None] = {}
        replies = self._tasks.run(_COMPLETE, keys, lambda index: _member(completions[index]), suffixes=())
        for part, reply in replies:
            progress.update(zip(part, map(unpack_progress, reply), strict=True))
        return [progress[index] for index in range(len(completions))]

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        calls = []
        for group_id in group_ids:
            key = self._keys.group(group_id)
            calls += [
                command("HMGET", key, "size", "collect", "next", "failed", key=key, writes=False),
                command("HLEN", key, key=key, writes=False),
            ]
        replies = self._client.run(calls) if calls else []
        return [
            _group(group_id, fields, length)
            for group_id, fields, length in zip(group_ids, replies[::2], replies[1::2], strict=True)
        ]

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty if the group is unknown."""
        (found,) = self.read_groups([group_id])
        if found is None or found.size == 0:
            return []
        key = self._keys.group(group_id)
        calls = [
            command("HMGET", key, *range(first, min(first + LARGEST_BATCH, found.size)), key=key, writes=False)
            for first in range(0, found.size, LARGEST_BATCH)
        ]
        return [payload for reply in self._client.run(calls) for payload in reply]


def _fields(group: Group) -> tuple[Any, ...]:
    return str(group.size), "1" if group.collect else "0", group.continuation


def _member(completion: Completion) -> tuple[Any, ...]:
    return completion.member.index, completion.payload, "1" if completion.failed else "0"


def unpack_progress(reply: list[Any] | None) -> GroupProgress | None:
    """The progress of a group in the reply of a script; None: the group is unknown."""
    if reply is None:
        return None
    size, done, failed = reply
    return GroupProgress(size=int(size), done=done, failed=failed == 1)


def _group(group_id: str, fields: list[Any], length: int) -> GroupRecord | None:
    size, collect, continuation, failed = fields
    if size is None:
        return None
    return GroupRecord(
        group_id=group_id,
        size=int(size),
        collect=collect == b"1",
        continuation=continuation,
        done=length - len(fields),
        failed=failed == b"1",
    )
