"""The values in Memcached as bytes: entries, payloads of members, and locks. Pure.

An entry is everything that is stored under one id: the record of a task, the header of a group, or both. They are one
value, so a group ends with the record of its id, and neither is ever there without the other. Its bytes are the header
as a line of JSON, empty without a group; the record, as the driver kit encodes it; and the group's continuation.
"""

from __future__ import annotations

import json

from attrs import evolve, frozen

from drivetrain.contract import Group, TaskRecord, decode_record, encode_record, is_expired

__all__ = [
    "GroupHeader",
    "Lock",
    "StoredEntry",
    "dump_entry",
    "dump_member",
    "live",
    "load_entry",
    "member_failed",
    "member_payload",
]

_FAILED, _SUCCEEDED = b"f", b"v"


# Entries


@frozen(kw_only=True)
class GroupHeader:
    """A group without its members."""

    #: The tag in the keys of its shards and members. Another group of the same id has another one.
    tag: str
    size: int
    collect: bool
    continuation: bytes

    @classmethod
    def of_group(cls, group: Group, tag: str) -> GroupHeader:
        """The header of a group that is opened."""
        return cls(tag=tag, size=group.size, collect=group.collect, continuation=group.continuation)


@frozen
class StoredEntry:
    """The record and the group that are stored under one id."""

    record: TaskRecord | None = None
    group: GroupHeader | None = None

    @property
    def ends_at(self) -> float | None:
        """When the entry ends, in Unix seconds; None: never."""
        return None if self.record is None else self.record.expires_at

    def with_record(self, record: TaskRecord) -> StoredEntry:
        """The same entry with another record."""
        return evolve(self, record=record)


def live(entry: StoredEntry | None, now: float) -> StoredEntry | None:
    """The entry, or None if it has ended or is empty."""
    if entry is None or (entry.record is None and entry.group is None):
        return None
    return None if entry.record is not None and is_expired(entry.record, now) else entry


def dump_entry(entry: StoredEntry) -> bytes:
    """An entry as bytes."""
    record = b"" if entry.record is None else encode_record(entry.record)
    if (group := entry.group) is None:
        return b"\n" + record
    header = json.dumps([group.tag, group.size, group.collect, len(record)]).encode("ascii")
    return b"".join((header, b"\n", record, group.continuation))


def load_entry(data: bytes) -> StoredEntry:
    """An entry from its bytes, or from their first part without the ends of its large values."""
    header, _, rest = data.partition(b"\n")
    if not header:
        return StoredEntry(decode_record(rest))
    tag, size, collect, length = json.loads(header)
    group = GroupHeader(tag=tag, size=size, collect=collect, continuation=rest[length:])
    return StoredEntry(decode_record(rest[:length]) if length else None, group)


# Members


def dump_member(payload: bytes, *, failed: bool) -> bytes:
    """The payload of a member as bytes."""
    return (_FAILED if failed else _SUCCEEDED) + payload


def member_failed(data: bytes) -> bool:
    """Whether the member ended without success."""
    return data.startswith(_FAILED)


def member_payload(data: bytes) -> bytes:
    """The payload of the member."""
    return data[1:]


# Locks


@frozen
class Lock:
    """A lock: its last token, and when that token's hold ends."""

    token: int
    #: Unix seconds.
    ends_at: float

    def dump(self) -> bytes:
        """The lock as bytes."""
        return json.dumps([self.token, self.ends_at]).encode("ascii")

    @classmethod
    def load(cls, data: bytes) -> Lock:
        """The lock from its bytes."""
        return cls(*json.loads(data))

    def is_held(self, now: float) -> bool:
        """Whether somebody holds it."""
        return self.ends_at > now
