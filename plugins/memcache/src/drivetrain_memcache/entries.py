"""What is kept under an id: the record of a task, the head of a group, or both; as bytes and back. Pure.

They are one item, so that a group goes with the record of its id, and never one without the other.

    a line of JSON, then the payload, what waits for the task, and the continuation of the group, as they are
"""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve, frozen

from drivetrain.contract import Group, State, StateChange, TaskRecord

__all__ = ["Head", "Kept", "dump", "live", "load"]

# Made once: this is done several times for every task.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_STATES = {state.value: state for state in State}


@frozen(kw_only=True)
class Head:
    """A group, its members apart."""

    #: What its shards and members are called. Another group of the same id has another.
    of: str
    size: int
    collect: bool
    continuation: bytes

    @classmethod
    def of_group(cls, group: Group, of: str) -> Head:
        """Of a group that is opened."""
        return cls(of=of, size=group.size, collect=group.collect, continuation=group.continuation)


@frozen
class Kept:
    """What is kept under an id."""

    record: TaskRecord | None = None
    group: Head | None = None

    @property
    def ends_at(self) -> float | None:
        """When all of it goes (Unix seconds)."""
        return None if self.record is None else self.record.expires_at

    def with_record(self, record: TaskRecord) -> Kept:
        """The same with another record."""
        return evolve(self, record=record)


def live(kept: Kept | None, now: float) -> Kept | None:
    """What is kept, unless its time has come or there is nothing in it."""
    if kept is None or (kept.ends_at is not None and kept.ends_at <= now):
        return None
    return None if kept.record is None and kept.group is None else kept


def dump(kept: Kept) -> bytes:
    """As bytes."""
    head: dict[str, Any] = {}
    bodies: list[bytes] = []
    if (record := kept.record) is not None:
        head["t"] = _record_head(record)
        bodies += [body for body in (record.payload, record.downstream) if body is not None]
    if (group := kept.group) is not None:
        head["g"] = [group.of, group.size, group.collect, len(group.continuation)]
        bodies.append(group.continuation)
    # ASCII only: any text comes back as it was, also one that UTF-8 does not know.
    line = _encode(head).encode("ascii")
    return b"\n".join((line, b"".join(bodies)))


def _record_head(record: TaskRecord) -> list[Any]:
    return [
        record.state.value,
        record.attempt,
        record.task,
        record.run,
        record.leased_until,
        record.starts,
        _size(record.payload),
        _size(record.downstream),
        {state.value: [entry.at, entry.worker] for state, entry in record.entries.items()},
        record.expires_at,
    ]


def _size(body: bytes | None) -> int | None:
    return None if body is None else len(body)


def load(task_id: str, data: bytes) -> Kept:
    """From bytes."""
    end = data.index(b"\n")
    head = _decode(data[:end].decode("ascii"))
    at = end + 1
    record = group = None
    if "t" in head:
        record, at = _load_record(task_id, head["t"], data, at)
    if "g" in head:
        of, size, collect, length = head["g"]
        group = Head(of=of, size=size, collect=collect, continuation=data[at : at + length])
    return Kept(record, group)


def _load_record(task_id: str, head: list[Any], data: bytes, at: int) -> tuple[TaskRecord, int]:
    state, attempt, task, run, leased_until, starts, payload_size, downstream_size, entries, expires_at = head
    payload, at = _cut(data, at, payload_size)
    downstream, at = _cut(data, at, downstream_size)
    record = TaskRecord(
        task_id=task_id,
        state=_STATES[state],
        attempt=attempt,
        task=task,
        run=run,
        leased_until=leased_until,
        starts=starts,
        payload=payload,
        downstream=downstream,
        entries={_STATES[name]: StateChange(entered, worker) for name, (entered, worker) in entries.items()},
        expires_at=expires_at,
    )
    return record, at


def _cut(data: bytes, at: int, size: int | None) -> tuple[bytes | None, int]:
    return (None, at) if size is None else (data[at : at + size], at + size)
