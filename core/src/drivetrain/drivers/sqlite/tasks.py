"""Records of tasks: rows, and the SQL that reads and writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from drivetrain.contract import Entry, Outcome, State, TaskRecord, Transition, apply
from drivetrain.drivers.sqlite import members
from drivetrain.drivers.sqlite.database import Session

__all__ = ["Book", "drop", "drop_expired", "read", "unfinished"]

_STATES = {state.value: state for state in State}

_COLUMNS = "state, attempt, task, run, leased_until, starts, expires, entries, downstream, payload, id"
_READ = f"SELECT {_COLUMNS}, number FROM @tasks WHERE id IN (…)"  # noqa: S608 - built from constants
_UNFINISHED = f"SELECT {_COLUMNS}, number FROM @tasks WHERE expires IS NULL ORDER BY number LIMIT ?"  # noqa: S608 - as above

_ADD = f"INSERT INTO @tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
_CHANGE = """
UPDATE @tasks SET state = ?, attempt = ?, task = ?, run = ?, leased_until = ?, starts = ?, expires = ?,
    entries = ?, downstream = ?, payload = ?
WHERE number = ?
"""

_DROP = "DELETE FROM @tasks WHERE id IN (…)"
_EXPIRED_OF = "SELECT id FROM @tasks WHERE expires <= ? AND id IN (…)"


class Book:
    """The records that one transaction reads and changes.

    Entries of a batch see what earlier ones did, and are written together at the end.
    """

    def __init__(self, session: Session, task_ids: Iterable[str], now: float) -> None:
        self._session = session
        self._now = now
        self._records: dict[str, TaskRecord] = {}
        #: Of the rows that are there.
        self._numbers: dict[str, int] = {}
        for row in session.rows_in(_READ, list(dict.fromkeys(task_ids))):
            self._records[row[-2]] = _record(row)
            self._numbers[row[-2]] = row[-1]
        self._changed: dict[str, TaskRecord] = {}

    def enter(self, wish: Transition) -> Outcome:
        """Apply one transition."""
        before = self._live(wish.task_id)
        after = apply(before, wish, self._now)
        if after is None:
            return Outcome(applied=False, before=before)
        self._records[wish.task_id] = self._changed[wish.task_id] = after
        return Outcome(applied=True, before=before)

    def _live(self, task_id: str) -> TaskRecord | None:
        record = self._records.get(task_id)
        if record is None or record.expires_at is None or record.expires_at > self._now:
            return record
        for known in (self._records, self._numbers, self._changed):
            known.pop(task_id, None)
        drop(self._session, [task_id])
        return None

    def write(self) -> None:
        """Write what has changed. The book is of no use afterwards."""
        added: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        for task_id, record in self._changed.items():
            number = self._numbers.get(task_id)
            if number is None:
                added.append(_row(record, task_id))
            else:
                changed.append(_row(record, number))
        self._session.execute_many(_CHANGE, changed)
        self._session.execute_many(_ADD, added)


def read(session: Session, task_ids: Sequence[str], now: float) -> list[TaskRecord | None]:
    """The records that have not expired, in the order asked for."""
    found: dict[str, TaskRecord] = {}
    for row in session.rows_in(_READ, task_ids):
        record = _record(row)
        if record.expires_at is None or record.expires_at > now:
            found[record.task_id] = record
    return [found.get(task_id) for task_id in task_ids]


def unfinished(session: Session, limit: int) -> list[TaskRecord]:
    """Up to ``limit`` records that are not terminal, oldest first."""
    return [_record(row) for row in session.execute(_UNFINISHED, (max(0, limit),))]


def drop(session: Session, task_ids: Sequence[str]) -> int:
    """Drop records, and the groups of the same ids; how many records."""
    members.drop(session, task_ids)
    return session.change_in(_DROP, task_ids)


def drop_expired(session: Session, task_ids: Sequence[str], now: float) -> None:
    """Drop those of the records that have expired."""
    expired = [task_id for (task_id,) in session.rows_in(_EXPIRED_OF, task_ids, now)]
    if expired:
        drop(session, expired)


def _record(row: Sequence[Any]) -> TaskRecord:
    state, attempt, task, run, leased_until, starts, expires, entries, downstream, payload, task_id, _ = row
    return TaskRecord(
        task_id=task_id,
        state=_STATES[state],
        attempt=attempt,
        task=task,
        run=run,
        leased_until=leased_until,
        starts=starts,
        payload=payload,
        downstream=downstream,
        entries=_decode_entries(entries),
        expires_at=None if expires == math.inf else expires,
    )


def _row(record: TaskRecord, key: str | int) -> tuple[Any, ...]:
    return (
        record.state.value,
        record.attempt,
        record.task,
        record.run,
        record.leased_until,
        record.starts,
        math.inf if record.state.terminal and record.expires_at is None else record.expires_at,
        _encode_entries(record.entries),
        record.downstream,
        record.payload,
        key,
    )


# Entries are kept as "STATE time worker STATE time worker …": half of the time of a batch would go into JSON.


def _encode_entries(entries: Mapping[State, Entry]) -> str:
    return " ".join([f"{state.value} {entry.at!r} {_quoted(entry.worker)}" for state, entry in entries.items()])


def _decode_entries(text: str) -> dict[State, Entry]:
    words = iter(text.split(" "))
    return {
        _STATES[state]: Entry(float(at), _unquoted(worker))
        for state, at, worker in zip(words, words, words, strict=True)
    }


@lru_cache(maxsize=256)
def _quoted(worker: str) -> str:
    return quote(worker, errors="surrogatepass")


@lru_cache(maxsize=256)
def _unquoted(worker: str) -> str:
    return unquote(worker, errors="surrogatepass")
