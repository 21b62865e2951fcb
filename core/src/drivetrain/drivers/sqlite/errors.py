"""From sqlite3's errors to ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from drivetrain.contract import ServiceError, ServiceRefused, ServiceUnavailable, TooLarge
from drivetrain.drivers.sqlite.holder import writing_process
from drivetrain.drivers.sqlite.options import Options

__all__ = ["LARGEST_VALUE_BYTES", "SQLITE_ERRORS", "locked", "mapped"]

#: All that sqlite3 raises. Its `UnicodeEncodeError` and `OverflowError` are for text and integers that no column takes.
SQLITE_ERRORS = (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, OverflowError)

#: SQLite takes rows up to 1e9 bytes; a value with all that stands beside it must fit.
LARGEST_VALUE_BYTES = 256 * 1024 * 1024

_ROW_LIMIT_BYTES = 1_000_000_000

#: Primary result codes after which the same call may succeed. All others are refusals.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_ABORT,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
    }
)

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has it to itself; look for one that is stopped",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop all workers, keep a copy, and restore it from a backup",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_IOERR: "the disk did not do what it was asked; look at the system's log, and for a full disk",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; name another one, or move it away",
    sqlite3.SQLITE_PERM: "the file's permissions do not allow it",
    sqlite3.SQLITE_READONLY: "the file or its directory cannot be written; give this user permission to write both",
}


def mapped(error: Exception, path: Path) -> ServiceError:
    """The error of the contract for an error of sqlite3; to be raised from it."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_TOOBIG or (code is None and isinstance(error, sqlite3.DataError)):
        return TooLarge(f"a row of {path}", _ROW_LIMIT_BYTES + 1, _ROW_LIMIT_BYTES)
    advice = _cannot_open(path) if primary == sqlite3.SQLITE_CANTOPEN else _ADVICE.get(primary or 0, "")
    text = f"{path}: {error}" + (f"; {advice}" if advice else "")
    return ServiceUnavailable(text) if _passes(error, primary) else ServiceRefused(text)


def locked(options: Options) -> ServiceUnavailable:
    """The error for a writer whose time is out before it was let in."""
    return ServiceUnavailable(
        f"{options.path}: the database is locked: nothing could be written for {options.busy_timeout_seconds:g} "
        f"seconds, since {writing_process(options.path)} writes; nothing was changed"
    )


def _passes(error: Exception, primary: int | None) -> bool:
    if primary is None:
        return type(error) is sqlite3.OperationalError
    return primary in _PASSING


def _cannot_open(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}; create it, or correct the URL"
    if path.is_dir():
        return "this is a directory; name a file in it"
    return f"this user must be allowed to write the file and its directory {path.parent}"
