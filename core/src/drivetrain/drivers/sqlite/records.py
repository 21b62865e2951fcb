"""Records of tasks: the SQL that reads and writes them, and the recording of a batch of transitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    Completion,
    GroupProgress,
    Outcome,
    State,
    TaskPage,
    TaskRecord,
    Transition,
    grants,
    record_and_complete,
    starts_after,
)
from drivetrain.drivers.sqlite import groups
from drivetrain.drivers.sqlite.codec import Row, history_after, origin_after, record_of
from drivetrain.drivers.sqlite.connection import Session

__all__ = ["drop", "drop_expired", "list_page", "read", "record"]

_NAMES = {state: state.value for state in State}

_COLUMNS = "state, attempt, run, leased_until, starts, history, task, origin, downstream, payload, expires, id"
_READ = f"SELECT {_COLUMNS}, number FROM @tasks WHERE id IN (…)"  # noqa: S608 - built from constants

#: How many rows a page passes at most, or as many as it may have records.
_PASSED = 1_000
_BELOW = "number < ? ORDER BY number DESC LIMIT ?"
#: The numbers and states of rows, the newest first, each by an index.
_UNFINISHED_ROWS = f"SELECT number, state FROM @tasks WHERE expires IS NULL AND {_BELOW}"  # noqa: S608 - as above
_FAILED_ROWS = f"SELECT number, state FROM @failed JOIN @tasks USING (number) WHERE {_BELOW}"  # noqa: S608 - as above
_ALL_ROWS = f"SELECT number, state FROM @tasks WHERE {_BELOW}"  # noqa: S608 - as above
_READ_NUMBERS = f"SELECT {_COLUMNS}, number FROM @tasks WHERE number IN (…)"  # noqa: S608 - as above

_ADD = f"INSERT INTO @tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
#: The columns that a start changes. To name no others is cheaper, most of all for the index on `expires`.
_MOVE = "UPDATE @tasks SET state = ?, attempt = ?, run = ?, leased_until = ?, starts = ?, history = ? WHERE number = ?"
_MOVED = 6
_CHANGE = """
UPDATE @tasks SET state = ?, attempt = ?, run = ?, leased_until = ?, starts = ?, history = ?,
    task = ?, origin = ?, downstream = ?, payload = ?, expires = ?
WHERE number = ?
"""
_STATE, _EXPIRES, _ID, _NUMBER = 0, -3, -2, -1

#: The states of the tasks in the table `failed`.
_FAILED_STATES = frozenset({State.RETRY, State.FAILURE, State.CANCELLED, State.EXPIRED})
_FAILED_NAMES = frozenset(state.value for state in _FAILED_STATES)
_ADD_FAILED = "INSERT OR IGNORE INTO @failed SELECT number FROM @tasks WHERE id IN (…)"
_DROP_FAILED = "DELETE FROM @failed WHERE number IN (…)"
_DROP_FAILED_OF = "DELETE FROM @failed WHERE number IN (SELECT number FROM @tasks WHERE id IN (…))"
_LARGEST_NUMBER = 2**63 - 1

_DROP = "DELETE FROM @tasks WHERE id IN (…)"
_EXPIRED_OF = "SELECT id FROM @tasks WHERE expires <= ? AND id IN (…)"


def record(session: Session, transitions: Sequence[Transition], now: float) -> list[Outcome]:
    """Grant or refuse transitions, in order, and complete members of groups; see `Backend.record`."""

    def record_part(part: Sequence[Transition]) -> list[Outcome]:
        batch = _Batch(session, [transition.task_id for transition in part], now)
        outcomes = [batch.apply(transition) for transition in part]
        batch.write()
        return outcomes

    def complete(completions: Sequence[Completion]) -> list[GroupProgress | None]:
        return groups.complete(session, completions, now)

    return record_and_complete(transitions, record_part, complete)


class _Batch:
    """The rows that a batch of transitions reads and changes.

    Each transition sees the effects of earlier ones. All rows are written together at the end. The batch changes rows,
    not records: making records that no one reads would cost more than the rest.
    """

    def __init__(self, session: Session, task_ids: Iterable[str], now: float) -> None:
        self._session = session
        self._now = now
        self._found: dict[str, Row] = {row[_ID]: row for row in session.rows_in(_READ, list(dict.fromkeys(task_ids)))}
        self._changed: dict[str, Row] = {}

    def apply(self, transition: Transition) -> Outcome:
        """Do what `drivetrain.contract.apply` does."""
        row = self._live(transition.task_id)
        before = None if row is None else record_of(row)
        granted = grants(before, transition, self._now)
        if granted:
            row = row or _blank(transition.task_id)
            self._changed[transition.task_id] = _after(row, before, transition, self._now)
        return Outcome(applied=granted, before=before)

    def _live(self, task_id: str) -> Row | None:
        row = self._changed.get(task_id) or self._found.get(task_id)
        if row is None or row[_EXPIRES] is None or row[_EXPIRES] > self._now:
            return row
        self._changed.pop(task_id, None)
        self._found.pop(task_id, None)
        drop(self._session, [task_id])
        return None

    def write(self) -> None:
        """Write the changed rows. Call it once, at the end."""
        added, moved, changed = [], [], []
        failed, left = list[str](), list[int]()
        for task_id, row in self._changed.items():
            found = self._found.get(task_id)
            if row[_STATE] in _FAILED_NAMES:
                failed.append(task_id)
            elif found is not None and found[_STATE] in _FAILED_NAMES:
                left.append(found[_NUMBER])
            if found is None:
                added.append(row[:_NUMBER])
            elif row[_MOVED:] == found[_MOVED:]:
                moved.append((*row[:_MOVED], row[_NUMBER]))
            else:
                changed.append((*row[:_ID], row[_NUMBER]))
        self._session.execute_many(_MOVE, moved)
        self._session.execute_many(_CHANGE, changed)
        self._session.execute_many(_ADD, added)
        self._session.change_in(_ADD_FAILED, failed)
        self._session.change_in(_DROP_FAILED, left)


def read(session: Session, task_ids: Sequence[str], now: float) -> list[TaskRecord | None]:
    """The records in the order of ``task_ids``; None for an unknown or expired one."""
    found: dict[str, TaskRecord] = {}
    for row in session.rows_in(_READ, task_ids):
        record = record_of(row)
        if record.expires_at is None or record.expires_at > now:
            found[record.task_id] = record
    return [found.get(task_id) for task_id in task_ids]


def list_page(session: Session, states: AbstractSet[State], limit: int, cursor: str | None, now: float) -> TaskPage:
    """At most ``limit`` records in these states, newest first; the cursor is the number of the last row that it passed.

    Rows are numbered as they are first recorded, so no change of a task moves it.
    """
    most = max(limit, _PASSED)
    below = _LARGEST_NUMBER if cursor is None else int(cursor)
    passed = sorted(
        {row for source in _sources(states) for row in session.execute(source, (below, most))}, reverse=True
    )[:most]
    names = {_NAMES[state] for state in states}
    chosen = [number for number, state in passed if state in names]
    last = None
    if len(chosen) >= limit:
        last = chosen[limit - 1]
    elif len(passed) == most:
        last = passed[-1][0]
    return TaskPage(
        records=[one for one in _numbered(session, chosen[:limit], now) if one.state in states],
        cursor=None if last is None else str(last),
    )


def _sources(states: AbstractSet[State]) -> list[str]:
    """The statements that find all rows in these states, and few others."""
    if State.SUCCESS in states:
        return [_ALL_ROWS]
    if states <= _FAILED_STATES:
        return [_FAILED_ROWS]
    return [_UNFINISHED_ROWS, _FAILED_ROWS] if states & _FAILED_STATES else [_UNFINISHED_ROWS]


def _numbered(session: Session, numbers: Sequence[int], now: float) -> list[TaskRecord]:
    """The records with these numbers, the largest first. They may have changed since their numbers were read."""
    rows = sorted(session.rows_in(_READ_NUMBERS, numbers), key=lambda row: row[_NUMBER], reverse=True)
    return [record_of(row) for row in rows if row[_EXPIRES] is None or row[_EXPIRES] > now]


def drop(session: Session, task_ids: Sequence[str]) -> int:
    """Drop records, and the groups of the same ids; how many records it dropped."""
    groups.drop(session, task_ids)
    session.change_in(_DROP_FAILED_OF, task_ids)
    return session.change_in(_DROP, task_ids)


def drop_expired(session: Session, task_ids: Sequence[str], now: float) -> None:
    """Drop the expired ones of these records."""
    expired = [task_id for (task_id,) in session.rows_in(_EXPIRED_OF, task_ids, now)]
    if expired:
        drop(session, expired)


def _blank(task_id: str) -> Row:
    return ("", 0, None, None, 0, "", "", "", None, None, None, task_id, None)


def _after(row: Row, before: TaskRecord | None, transition: Transition, now: float) -> Row:
    """The row after a transition that is granted."""
    _, attempt, run, _, _, history, task, origin, downstream, payload, _, task_id, number = row
    started = transition.state is State.STARTED
    return (
        _NAMES[transition.state],
        max(attempt, transition.attempt),
        run if transition.run is None else transition.run,
        now + transition.lease if transition.lease is not None and started else None,
        starts_after(before, transition),
        history_after(history, transition),
        transition.task or task,
        origin_after(origin, transition),
        downstream if transition.downstream is None else transition.downstream,
        payload if transition.payload is None else transition.payload,
        _expires(transition, now) if transition.state.terminal else None,
        task_id,
        number,
    )


def _expires(transition: Transition, now: float) -> float:
    return math.inf if transition.retention is None else now + transition.retention
