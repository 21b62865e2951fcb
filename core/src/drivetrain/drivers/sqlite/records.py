"""Records of tasks: rows, and the SQL that reads and writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from drivetrain.contract import Outcome, State, TaskPage, TaskRecord, Transition, grants, starts_after
from drivetrain.drivers.sqlite import members
from drivetrain.drivers.sqlite.database import Session
from drivetrain.drivers.sqlite.entries import Entries, entered

__all__ = ["Book", "drop", "drop_expired", "read", "unfinished"]

#: What `_READ` selects; without a number while it is not in the table.
_Row: TypeAlias = tuple[Any, ...]

_STATES = {state.value: state for state in State}
_NAMES = {state: state.value for state in State}

_COLUMNS = "state, attempt, run, leased_until, starts, entries, task, downstream, payload, expires, id"
_READ = f"SELECT {_COLUMNS}, number FROM @tasks WHERE id IN (…)"  # noqa: S608 - built from constants
_UNFINISHED = f"""
SELECT {_COLUMNS}, number FROM @tasks WHERE expires IS NULL AND number > ? ORDER BY number LIMIT ?
"""  # noqa: S608 - as above

_ADD = f"INSERT INTO @tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
#: The columns that a start changes. Naming no others is cheaper, above all for the index on `expires`.
_MOVE = "UPDATE @tasks SET state = ?, attempt = ?, run = ?, leased_until = ?, starts = ?, entries = ? WHERE number = ?"
_MOVED = 6
_CHANGE = """
UPDATE @tasks SET state = ?, attempt = ?, run = ?, leased_until = ?, starts = ?, entries = ?,
    task = ?, downstream = ?, payload = ?, expires = ?
WHERE number = ?
"""
_EXPIRES, _ID, _NUMBER = -3, -2, -1

_DROP = "DELETE FROM @tasks WHERE id IN (…)"
_EXPIRED_OF = "SELECT id FROM @tasks WHERE expires <= ? AND id IN (…)"


class Book:
    """The records that one transaction reads and changes.

    Entries of a batch see what earlier ones did, and are written together at the end. What is changed are rows: nobody
    asks for the records that they stand for.
    """

    def __init__(self, session: Session, task_ids: Iterable[str], now: float) -> None:
        self._session = session
        self._now = now
        self._found: dict[str, _Row] = {row[_ID]: row for row in session.rows_in(_READ, list(dict.fromkeys(task_ids)))}
        self._changed: dict[str, _Row] = {}

    def enter(self, wish: Transition) -> Outcome:
        """Do with one transition as `drivetrain.contract.apply` does."""
        row = self._live(wish.task_id)
        before = None if row is None else _record(row)
        granted = grants(before, wish, self._now)
        if granted:
            self._changed[wish.task_id] = _after(row or _blank(wish.task_id), before, wish, self._now)
        return Outcome(applied=granted, before=before)

    def _live(self, task_id: str) -> _Row | None:
        row = self._changed.get(task_id) or self._found.get(task_id)
        if row is None or row[_EXPIRES] is None or row[_EXPIRES] > self._now:
            return row
        self._changed.pop(task_id, None)
        self._found.pop(task_id, None)
        drop(self._session, [task_id])
        return None

    def write(self) -> None:
        """Write what has changed. The book is of no use afterwards."""
        added, moved, changed = [], [], []
        for task_id, row in self._changed.items():
            found = self._found.get(task_id)
            if found is None:
                added.append(row[:_NUMBER])
            elif row[_MOVED:] == found[_MOVED:]:
                moved.append((*row[:_MOVED], row[_NUMBER]))
            else:
                changed.append((*row[:_ID], row[_NUMBER]))
        self._session.execute_many(_MOVE, moved)
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


def unfinished(session: Session, limit: int, cursor: str | None) -> TaskPage:
    """Up to ``limit`` records that are not terminal, oldest first; the cursor is the number of the last one."""
    rows = list(session.execute(_UNFINISHED, (int(cursor or 0), limit)))
    return TaskPage(records=[_record(row) for row in rows], cursor=str(rows[-1][-1]) if len(rows) == limit else None)


def drop(session: Session, task_ids: Sequence[str]) -> int:
    """Drop records, and the groups of the same ids; how many records."""
    members.drop(session, task_ids)
    return session.change_in(_DROP, task_ids)


def drop_expired(session: Session, task_ids: Sequence[str], now: float) -> None:
    """Drop those of the records that have expired."""
    expired = [task_id for (task_id,) in session.rows_in(_EXPIRED_OF, task_ids, now)]
    if expired:
        drop(session, expired)


def _record(row: _Row) -> TaskRecord:
    state, attempt, run, leased_until, starts, entries, task, downstream, payload, expires, task_id, _ = row
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
        entries=Entries(entries),
        expires_at=None if expires == math.inf else expires,
    )


def _blank(task_id: str) -> _Row:
    return ("", 0, None, None, 0, "", "", None, None, None, task_id, None)


def _after(row: _Row, before: TaskRecord | None, wish: Transition, now: float) -> _Row:
    """The row after a transition that is granted."""
    _, attempt, run, _, _, entries, task, downstream, payload, _, task_id, number = row
    return (
        _NAMES[wish.state],
        max(attempt, wish.attempt),
        run if wish.run is None else wish.run,
        now + wish.lease if wish.lease is not None and wish.state is State.STARTED else None,
        starts_after(before, wish),
        entered(entries, wish),
        wish.task or task,
        downstream if wish.downstream is None else wish.downstream,
        payload if wish.payload is None else wish.payload,
        _expires(wish, now) if wish.state.terminal else None,
        task_id,
        number,
    )


def _expires(wish: Transition, now: float) -> float:
    return math.inf if wish.retention is None else now + wish.retention
