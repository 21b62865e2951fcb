"""Records as documents, and back. Pure.

A document of the collection ``records`` is all that is known of an id: the record of a task, a group, or both. So a
group goes with the record of its id in one step, and both are read in one.

Times are integers, microseconds since 1970: every server keeps them exactly, and compares them with an index.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64

from drivetrain.contract import State, StateChange, TaskRecord, evolve

__all__ = [
    "FOREVER",
    "RECORD_FIELDS",
    "TERMINAL",
    "UNFINISHED",
    "changes",
    "delete_at",
    "expiry",
    "is_live",
    "micros",
    "record_of",
    "rounded",
]

#: `expires` of what is kept until it is forgotten: records without retention, and groups without a record.
FOREVER = Int64(2**62)
#: `expires` of a record that is not terminal: it is told apart from all others by one number, that of the index.
UNFINISHED = Int64(2**63 - 1)

TERMINAL = [state.value for state in State if state.terminal]

#: What of a document is needed to tell the record, and to change it; a group's own fields are left out.
RECORD_FIELDS: Mapping[str, int] = dict.fromkeys(
    (
        *("state", "attempt", "task", "run", "leased_until", "starts", "payload", "downstream", "entries"),
        *("expires", "version", "writers", "group"),
    ),
    1,
)

_STATES = {state.value: state for state in State}
#: How long after its end the server's own sweep may drop a record: clocks differ, and a worker's sweep comes first.
_SERVER_SWEEPS_AFTER_SECONDS = 3_600.0
_LATEST_DATE = datetime(9999, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(seconds: float) -> Int64:
    """A time as it is kept; times beyond some ten thousand years are as good as for ever."""
    return Int64(round(max(-1e12, min(seconds, 1e12)) * 1e6))


def expiry(seconds: float | None) -> Int64:
    """`expires` of a terminal record that goes at that time; None: never."""
    return FOREVER if seconds is None else micros(seconds)


def delete_at(expires: Int64) -> datetime | None:
    """When the server may drop what expires then; None: never."""
    seconds = expires / 1e6 + _SERVER_SWEEPS_AFTER_SECONDS
    if not 0 < seconds < (_LATEST_DATE - _EPOCH).total_seconds():
        return None
    return _EPOCH + timedelta(seconds=seconds)


def is_live(document: Mapping[str, Any], now: float) -> bool:
    """Whether the time of a document has not come."""
    return bool(document["expires"] > micros(now))


def record_of(document: Mapping[str, Any] | None) -> TaskRecord | None:
    """The record in a document; None where there is none."""
    if document is None or "state" not in document:
        return None
    leased_until, expires = document["leased_until"], document["expires"]
    return TaskRecord(
        task_id=document["_id"],
        state=_STATES[document["state"]],
        attempt=int(document["attempt"]),
        task=document["task"],
        run=document["run"],
        leased_until=None if leased_until is None else leased_until / 1e6,
        starts=int(document["starts"]),
        payload=document["payload"],
        downstream=document["downstream"],
        entries={_STATES[state]: StateChange(at, worker) for state, (at, worker) in document["entries"].items()},
        expires_at=None if expires >= FOREVER else expires / 1e6,
    )


def rounded(record: TaskRecord) -> TaskRecord:
    """The record as it is read back: its times are kept in microseconds."""
    if record.leased_until is None and record.expires_at is None:
        return record
    return evolve(record, leased_until=_kept(record.leased_until), expires_at=_kept(record.expires_at))


def _kept(seconds: float | None) -> float | None:
    return None if seconds is None else micros(seconds) / 1e6


def changes(before: TaskRecord | None, after: TaskRecord) -> dict[str, Any]:
    """What is to be set in a document so that the record in it is ``after``.

    Of values that may be large only those that are new are named.
    """
    fields: dict[str, Any] = {
        "state": after.state.value,
        "attempt": Int64(after.attempt),
        "task": after.task,
        "run": after.run,
        "leased_until": None if after.leased_until is None else micros(after.leased_until),
        "starts": after.starts,
        "expires": expiry(after.expires_at) if after.state.terminal else UNFINISHED,
    }
    for name in ("payload", "downstream"):
        if before is None or getattr(before, name) is not getattr(after, name):
            fields[name] = getattr(after, name)
    if before is None or before.entries != after.entries:
        fields["entries"] = {state.value: [entry.at, entry.worker] for state, entry in after.entries.items()}
    deleted = delete_at(fields["expires"])
    return fields if deleted is None else {**fields, "delete_at": deleted}
