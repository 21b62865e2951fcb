"""Errors of sqlite3 as errors of the contract."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from drivetrain.contract import ServiceError, ServiceRefused, ServiceUnavailable, TooLarge
from drivetrain.drivers.sqlite.options import Options

__all__ = ["LARGEST_VALUE_BYTES", "SQLITE_ERRORS", "locked", "mapped"]

#: All errors that sqlite3 raises: `UnicodeEncodeError` and `OverflowError` for text and integers that no column takes.
SQLITE_ERRORS = (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, OverflowError)

#: SQLite takes rows of at most 1e9 bytes; a value and the rest of its row must fit.
LARGEST_VALUE_BYTES = 256 * 1024 * 1024

_ROW_LIMIT_BYTES = 1_000_000_000

#: Primary result codes of temporary errors, after which the same call may succeed. All others are refusals.
_TEMPORARY = frozenset(
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
    sqlite3.SQLITE_BUSY: "another process has locked it; look for one that is stopped",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop all workers, keep a copy, and restore it from a backup",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "the disk failed; read the system's log, and check for a full disk",
    sqlite3.SQLITE_NOTADB: "name another file, or move this one away",
    sqlite3.SQLITE_PERM: "the file's permissions do not allow it",
    sqlite3.SQLITE_READONLY: "the file or its directory cannot be written; give this user permission to write both",
}


def mapped(error: Exception, path: Path) -> ServiceError:
    """The error of the contract for an error of sqlite3. Raise it from that error.

    Args:
        error: one of `SQLITE_ERRORS`.
        path: the database, for the message.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_TOOBIG or (code is None and isinstance(error, sqlite3.DataError)):
        return TooLarge(f"a row of {path}", _ROW_LIMIT_BYTES + 1, _ROW_LIMIT_BYTES)
    advice = _cannot_open(path) if primary == sqlite3.SQLITE_CANTOPEN else _ADVICE.get(primary or 0, "")
    text = f"{path}: {error}" + (f"; {advice}" if advice else "")
    return ServiceUnavailable(text) if _is_temporary(error, primary) else ServiceRefused(text)


def locked(options: Options) -> ServiceUnavailable:
    """The error for a writer that has waited for ``busy_timeout_seconds``."""
    return ServiceUnavailable(
        f"{options.path}: the database is locked: nothing could be written for {options.busy_timeout_seconds:g} "
        f"seconds, because {_writing_process(options.path)} writes; nothing was changed"
    )


def _is_temporary(error: Exception, primary: int | None) -> bool:
    if primary is None:
        return type(error) is sqlite3.OperationalError
    return primary in _TEMPORARY


def _cannot_open(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}; create it, or correct the URL"
    if path.is_dir():
        return "this is a directory; name a file in it"
    return f"this user must be allowed to write the file and its directory {path.parent}"


#: The byte of the file ``-shm`` that the writer of a write-ahead log locks; a part of SQLite's file format.
_WRITE_LOCK_BYTE = 120
_STOPPED = ("T", "t")


def _writing_process(database: Path) -> str:
    """The process that writes, in words: "process 4711, which is stopped". Known on Linux, for visible processes."""
    with suppress(OSError, ValueError):  # no /proc, a process that has just ended, another format: the name is a help
        found = Path(f"{database}-shm").stat()
        file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: POSIX ADVISORY WRITE 4711 fe:01:131094 120 120
            kind, _, mode, pid, locked_file, first, last = line.split()[1:8]
            if (kind, mode, locked_file) == ("POSIX", "WRITE", file) and _covers(first, last):
                return f"process {pid}{_state(pid)}"
    return "another process"


def _covers(first: str, last: str) -> bool:
    return int(first) <= _WRITE_LOCK_BYTE and (last == "EOF" or int(last) >= _WRITE_LOCK_BYTE)


def _state(pid: str) -> str:
    # The state follows the name, which is in parentheses and may contain anything.
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ", which is stopped (continue it with kill -CONT, or end it with kill -KILL)," if state in _STOPPED else ""
