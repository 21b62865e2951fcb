"""Versioned values: the SQL that reads, writes and lists them."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.contract import ValueOutcome, ValuePage, ValueWrite, VersionedValue, takes_effect, utf8
from drivetrain.drivers.sqlite.codec import Row
from drivetrain.drivers.sqlite.connection import Session

__all__ = ["drop_expired", "last_version", "list_page", "read", "write"]

_READ = "SELECT key, value, version, ends FROM @values WHERE (ends IS NULL OR ends > ?) AND key IN (…)"
#: The row that it replaces goes, and the new one gets the next version.
_PUT = "INSERT OR REPLACE INTO @values (key, value, ends) VALUES (?, ?, ?) RETURNING version"
_REMOVE = "DELETE FROM @values WHERE key = ?"
#: A removal takes a version too, so that the last version changes with every change of the table.
_COUNT_REMOVAL = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = '@values'"
_LAST_VERSION = "SELECT seq FROM sqlite_sequence WHERE name = '@values'"
_LIST = "SELECT key, value, version, ends FROM @values WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_DROP_EXPIRED = """
DELETE FROM @values WHERE version IN (SELECT version FROM @values WHERE ends <= ? ORDER BY ends LIMIT ?)
"""

#: A key with this byte behind it is the next larger key.
_SMALLEST = b"\0"
#: UTF-8 does not have this byte: a prefix with it behind is larger than every key with the prefix.
_LARGEST = b"\xff"


def read(session: Session, keys: Sequence[str], now: float) -> list[VersionedValue | None]:
    """See `Backend.read_values`."""
    encoded = [utf8(key) for key in keys]
    found = {row[0]: _value(row, now) for row in session.rows_in(_READ, encoded, now)}
    return [found.get(key) for key in encoded]


def write(session: Session, writes: Sequence[ValueWrite], now: float) -> list[ValueOutcome]:
    """See `Backend.write_values`."""
    return [_write(session, each, now) for each in writes]


def _write(session: Session, write: ValueWrite, now: float) -> ValueOutcome:
    (stored,) = read(session, [write.key], now)
    if not takes_effect(write, stored):
        return ValueOutcome(written=False, current=stored)
    key, seconds = utf8(write.key), write.expires_in_seconds
    if write.value is None:
        session.execute(_REMOVE, (key,))
        if stored is not None:
            session.execute(_COUNT_REMOVAL)
        return ValueOutcome(written=True, current=None)
    ends = None if seconds is None else now + seconds
    (version,) = session.execute(_PUT, (key, write.value, ends)).fetchone()
    current = VersionedValue(value=write.value, version=version, expires_in_seconds=seconds)
    return ValueOutcome(written=True, current=current)


def list_page(session: Session, prefix: str, limit: int, cursor: str | None, now: float) -> ValuePage:
    """See `Backend.list_values`; by key. The cursor is the last key of the page, which may have expired."""
    first = utf8(prefix) if cursor is None else utf8(cursor) + _SMALLEST
    rows = session.execute(_LIST, (first, utf8(prefix) + _LARGEST, limit + 1)).fetchall()
    page = rows[:limit]
    # Expired values are left out here, not by SQL: so a call never walks past any number of them.
    values = [(_text(row[0]), _value(row, now)) for row in page if row[-1] is None or row[-1] > now]
    return ValuePage(values=values, cursor=_text(page[-1][0]) if len(rows) > len(page) else None)


def last_version(session: Session) -> int:
    """The last version that a write or a removal took; 0: there was none. It changes with every one of them."""
    row = session.execute(_LAST_VERSION).fetchone()
    return int(row[0]) if row else 0


def drop_expired(session: Session, now: float, limit: int) -> None:
    """Drop expired values, at most ``limit``."""
    session.execute(_DROP_EXPIRED, (now, limit))


def _value(row: Row, now: float) -> VersionedValue:
    _, value, version, ends = row
    return VersionedValue(value=value, version=version, expires_in_seconds=None if ends is None else ends - now)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")
