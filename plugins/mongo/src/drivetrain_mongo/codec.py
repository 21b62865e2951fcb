"""Records as documents, and back. Pure.

A document of the collection ``records`` holds everything of one id: the record of a task, a group, or both. So one step
reads both, and one step ends both.

Times are integers, in microseconds since 1970: every server stores them exactly and compares them by an index.
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

#: `expires` of documents without an end: records without retention, and groups without a record.
FOREVER = Int64(2**62)
#: `expires` of a record that is not terminal. Only such records have it, so an index finds them.
UNFINISHED = Int64(2**63 - 1)

TERMINAL = [state.value for state in State if state.terminal]

#: The fields of a document that hold its record, or that a change of it needs; without those of a group.
RECORD_FIELDS: Mapping[str, int] = dict.fromkeys(
    (
        *("state", "attempt", "task", "queue", "workflow", "parent", "run", "leased_until", "starts", "payload"),
        *("downstream", "history", "expires", "version", "writers", "group", "listed"),
    ),
    1,
)

_STATES = {state.value: state for state in State}
#: How long after its end the server itself may delete a record, in seconds: a worker's sweep should come first.
_SERVER_SWEEPS_AFTER_SECONDS = 3_600.0
_LATEST_DATE = datetime(9999, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(seconds: float) -> Int64:
    """A time as it is stored, in microseconds; times beyond some ten thousand years are cut."""
    return Int64(round(max(-1e12, min(seconds, 1e12)) * 1e6))


def expiry(seconds: float | None) -> Int64:
    """`expires` of a terminal record that ends at that time, in Unix seconds; None: never."""
    return FOREVER if seconds is None else micros(seconds)


def delete_at(expires: Int64) -> datetime | None:
    """When the server itself may delete a document with this `expires`; None: never."""
    seconds = expires / 1e6 + _SERVER_SWEEPS_AFTER_SECONDS
    if not 0 < seconds < (_LATEST_DATE - _EPOCH).total_seconds():
        return None
    return _EPOCH + timedelta(seconds=seconds)


def is_live(document: Mapping[str, Any], now: float) -> bool:
    """Whether a document has not expired."""
    return bool(document["expires"] > micros(now))


def record_of(document: Mapping[str, Any] | None) -> TaskRecord | None:
    """The record in a document, or None."""
    if document is None or "state" not in document:
        return None
    leased_until, expires = document["leased_until"], document["expires"]
    return TaskRecord(
        task_id=document["_id"],
        state=_STATES[document["state"]],
        attempt=int(document["attempt"]),
        task=document["task"],
        # A document without these is of an earlier version, or has no such text.
        queue=document.get("queue", ""),
        workflow=document.get("workflow", ""),
        parent=document.get("parent", ""),
        run=document["run"],
        leased_until=None if leased_until is None else leased_until / 1e6,
        starts=int(document["starts"]),
        payload=document["payload"],
        downstream=document["downstream"],
        history={_STATES[state]: StateChange(at, worker) for state, (at, worker) in document["history"].items()},
        expires_at=None if expires >= FOREVER else expires / 1e6,
    )


def rounded(record: TaskRecord) -> TaskRecord:
    """The record as a later read returns it: its times have whole microseconds."""
    if record.leased_until is None and record.expires_at is None:
        return record
    return evolve(record, leased_until=_rounded(record.leased_until), expires_at=_rounded(record.expires_at))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else micros(seconds) / 1e6


def changes(before: TaskRecord | None, after: TaskRecord) -> dict[str, Any]:
    """The fields to set in a document so that its record becomes ``after``.

    Values that may be large are named only if they are new.
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
    for name in ("queue", "workflow", "parent"):
        if (text := getattr(after, name)) != ("" if before is None else getattr(before, name)):
            fields[name] = text
    for name in ("payload", "downstream"):
        if before is None or getattr(before, name) is not getattr(after, name):
            fields[name] = getattr(after, name)
    if before is None or before.history != after.history:
        fields["history"] = {state.value: [change.at, change.worker] for state, change in after.history.items()}
    deleted = delete_at(fields["expires"])
    return fields if deleted is None else {**fields, "delete_at": deleted}
