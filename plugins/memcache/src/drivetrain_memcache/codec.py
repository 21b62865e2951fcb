"""What Memcached stores, as bytes: entries, payloads of members, and versioned values. Pure.

An entry is everything that is stored under one id: the record of a task, the header of a group, or both. They are one
value, so a group ends with the record of its id, and neither is ever there without the other. Its bytes are the header
as a line of JSON, empty without a group; the record, as the driver kit encodes it; and the group's continuation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from drivetrain.contract import (
    Group,
    TaskRecord,
    ValueOutcome,
    ValueWrite,
    VersionedValue,
    decode_record,
    encode_record,
    is_expired,
    takes_effect,
    utf8,
    whole_units,
)

__all__ = [
    "GroupHeader",
    "StoredEntry",
    "StoredValue",
    "change_value",
    "dump_entry",
    "dump_index",
    "dump_member",
    "live",
    "load_entry",
    "load_index",
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


# Versioned values

#: About 10,000 years.
_LONGEST_SECONDS = 3e11
#: No text in UTF-8 has this byte.
_KEY_END = b"\xff"


@frozen(kw_only=True)
class StoredValue:
    """The item of a key: its value, if one is stored, and its last version."""

    #: The last version of the key; 0: unknown.
    version: int
    #: None: the value was removed, or there was none yet.
    value: bytes | None = None
    #: When the value ends, in Unix seconds; None: never.
    ends_at: float | None = None
    #: When the index certainly listed the key, in Unix seconds; None: the index may not list it.
    listed_at: float | None = None
    #: A writer lets the index list the key, and then stores a value.
    claimed: bool = False

    def dump(self) -> bytes:
        """The item as bytes."""
        head = [self.version, self.value is not None, self.ends_at, self.listed_at, self.claimed]
        return json.dumps(head).encode("ascii") + b"\n" + (self.value or b"")

    @classmethod
    def load(cls, data: bytes) -> StoredValue:
        """The item from its bytes, or from their first part without the end of the value."""
        head, _, value = data.partition(b"\n")
        version, has_value, ends_at, listed_at, claimed = json.loads(head)
        return cls(
            version=version,
            value=value if has_value else None,
            ends_at=ends_at,
            listed_at=listed_at,
            claimed=claimed,
        )

    def current(self, now: float) -> VersionedValue | None:
        """The value that is stored at ``now``, in Unix seconds; None: it was removed or has expired."""
        if self.value is None or (self.ends_at is not None and self.ends_at <= now):
            return None
        return _versioned(self.value, self, now)


def change_value(
    stored: StoredValue | None, writes: Sequence[ValueWrite], now: float
) -> tuple[StoredValue | None, list[ValueOutcome]]:
    """What the writes of one key, in order, make of its item: the same object if nothing changes; and their outcomes.

    A version is the clock's time in microseconds, or one more than the last one where that is larger. So versions grow
    also after Memcached has dropped the item.
    """
    outcomes = []
    for write in writes:
        current = None if stored is None else stored.current(now)
        if not takes_effect(write, current):
            outcomes.append(ValueOutcome(written=False, current=current))
            continue
        if write.value is not None:
            last, listed_at = (0, None) if stored is None else (stored.version, stored.listed_at)
            version = max(int(now * 1e6), last + 1)
            ends_at = _end(write.expires_in_seconds, now)
            stored = StoredValue(version=version, value=write.value, ends_at=ends_at, listed_at=listed_at)
            current = _versioned(write.value, stored, now)
        elif stored is not None and current is not None:
            stored, current = evolve(stored, value=None, ends_at=None), None
        outcomes.append(ValueOutcome(written=True, current=current))
    return stored, outcomes


def _versioned(value: bytes, stored: StoredValue, now: float) -> VersionedValue:
    expires = None if stored.ends_at is None else stored.ends_at - now
    return VersionedValue(value=value, version=stored.version, expires_in_seconds=expires)


def _end(seconds: float | None, now: float) -> float | None:
    if seconds is None:
        return None
    return now + whole_units(seconds, per_second=1_000_000, longest_seconds=_LONGEST_SECONDS) / 1e6


def dump_index(keys: Iterable[str]) -> bytes:
    """A shard of the index, which lists keys, as bytes."""
    return b"".join(utf8(key) + _KEY_END for key in keys)


def load_index(data: bytes | None) -> list[str]:
    """The keys of a shard from its bytes; none if it is lost."""
    return [key.decode("utf-8", "surrogatepass") for key in (data or b"").split(_KEY_END)[:-1]]
