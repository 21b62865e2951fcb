"""Groups and their members: their rows, and the SQL that reads and writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from drivetrain.contract import Completion, Group, GroupProgress, GroupRecord, GroupTally
from drivetrain.drivers.sqlite.connection import Session

__all__ = ["complete", "drop", "open_groups", "read", "read_members"]

_OPEN = "INSERT OR IGNORE INTO @groups (id, size, collect, continuation) VALUES (?, ?, ?, ?)"

#: A group ends with the record of the same id: when the record has expired, the group is unknown.
_KNOWN = "NOT EXISTS (SELECT 1 FROM @tasks WHERE @tasks.id = @groups.id AND expires <= ?)"
_TALLY = f"SELECT number, id, size, collect, done, failed FROM @groups WHERE {_KNOWN} AND id IN (…)"  # noqa: S608
_READ = f"SELECT id, size, collect, continuation, done, failed FROM @groups WHERE {_KNOWN} AND id IN (…)"  # noqa: S608

_ADD_MEMBER = "INSERT OR IGNORE INTO @members (grp, idx, payload) VALUES (?, ?, ?)"
_SAVE = "UPDATE @groups SET done = ?, failed = ? WHERE number = ?"
_MEMBERS = f"""
SELECT size, idx, payload FROM @groups LEFT JOIN @members ON grp = number WHERE {_KNOWN} AND id = ?
"""  # noqa: S608

_DROP_MEMBERS = "DELETE FROM @members WHERE grp IN (SELECT number FROM @groups WHERE id IN (…))"
_DROP = "DELETE FROM @groups WHERE id IN (…)"


@frozen
class _OpenGroup:
    """A group while members are added to it."""

    number: int
    tally: GroupTally

    def complete(self, session: Session, completion: Completion) -> GroupProgress:
        index = completion.member.index
        if self.tally.has(index) and self._is_new(session, index, completion.payload):
            self.tally.add(failed=completion.failed)
        return self.tally.progress()

    def _is_new(self, session: Session, index: int, payload: bytes) -> bool:
        return session.execute(_ADD_MEMBER, (self.number, index, payload)).rowcount == 1


def open_groups(session: Session, groups: Iterable[Group]) -> None:
    """Open groups. Groups that are open stay as they are."""
    rows = [(group.group_id, group.size, int(group.collect), group.continuation) for group in groups]
    session.execute_many(_OPEN, rows)


def complete(session: Session, completions: Sequence[Completion], now: float) -> list[GroupProgress | None]:
    """Complete members, in order. For each the progress of its group afterwards; None if the group is unknown."""
    ids = list(dict.fromkeys(completion.member.group_id for completion in completions))
    known = {row[1]: _open_group(row) for row in session.rows_in(_TALLY, ids, now)}
    progress = [_complete(session, known.get(each.member.group_id), each) for each in completions]
    rows = [(group.tally.done, int(group.tally.failed), group.number) for group in known.values()]
    session.execute_many(_SAVE, rows)
    return progress


def _open_group(row: Sequence[Any]) -> _OpenGroup:
    number, _, size, collect, done, failed = row
    return _OpenGroup(number, GroupTally(size=size, collect=bool(collect), done=done, failed=bool(failed)))


def _complete(session: Session, group: _OpenGroup | None, completion: Completion) -> GroupProgress | None:
    return None if group is None else group.complete(session, completion)


def read(session: Session, group_ids: Sequence[str], now: float) -> list[GroupRecord | None]:
    """The groups in the order of ``group_ids``; None for an unknown one."""
    found = {row[0]: _record(row) for row in session.rows_in(_READ, group_ids, now)}
    return [found.get(group_id) for group_id in group_ids]


def _record(row: Sequence[Any]) -> GroupRecord:
    group_id, size, collect, continuation, done, failed = row
    return GroupRecord(
        group_id=group_id,
        size=size,
        collect=bool(collect),
        continuation=continuation,
        done=done,
        failed=bool(failed),
    )


def read_members(session: Session, group_id: str, now: float) -> list[bytes | None]:
    """The payloads of all members in order; an empty list for an unknown group."""
    rows = session.execute(_MEMBERS, (now, group_id)).fetchall()
    payloads = {index: payload for _, index, payload in rows}
    return [payloads.get(index) for index in range(rows[0][0])] if rows else []


def drop(session: Session, group_ids: Sequence[str]) -> None:
    """Drop groups and their members."""
    session.change_in(_DROP_MEMBERS, group_ids)
    session.change_in(_DROP, group_ids)
