"""Which process holds SQLite's write lock, where the system tells: on Linux, for processes that this one can see."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["writing_process"]

#: The byte of the file ``-shm`` that the writer of a write-ahead log locks; a part of SQLite's file format.
_WRITE_LOCK_BYTE = 120
_STOPPED = ("T", "t")


def writing_process(database: Path) -> str:
    """The process that writes, in words: "process 4711, which is stopped"; "another process" where nobody tells."""
    with suppress(OSError, ValueError):
        found = Path(f"{database}-shm").stat()
        file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: POSIX ADVISORY WRITE 4711 fe:01:131094 120 120
            kind, _, mode, pid, locked, first, last = line.split()[1:8]
            if (kind, mode, locked) == ("POSIX", "WRITE", file) and _covers(first, last):
                return f"process {pid}{_state(pid)}"
    return "another process"


def _covers(first: str, last: str) -> bool:
    return int(first) <= _WRITE_LOCK_BYTE and (last == "EOF" or int(last) >= _WRITE_LOCK_BYTE)


def _state(pid: str) -> str:
    # After the name, which stands in parentheses and may hold anything.
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ", which is stopped (continue it with kill -CONT, or end it with kill -KILL)" if state in _STOPPED else ""
