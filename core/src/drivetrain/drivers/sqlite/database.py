"""One file: its connections, transactions and errors."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivetrain.contract import ServiceRefused
from drivetrain.drivers.sqlite import schema
from drivetrain.drivers.sqlite.errors import SQLITE_ERRORS, mapped
from drivetrain.drivers.sqlite.options import Options
from drivetrain.drivers.sqlite.turn import Turn

__all__ = ["Database", "Session"]

#: The most parameters that one list in a statement has.
_CHUNK = 256
#: How often opening is tried anew while others open the same new file.
_RETRY_SECONDS = 0.005

_PRAGMAS = """
PRAGMA cache_size = -16000;
PRAGMA temp_store = memory;
PRAGMA wal_autocheckpoint = 2000;
PRAGMA journal_size_limit = 67108864
"""


class _Names(dict[str, str]):
    """SQL as it is written, to SQL with the names of the tables of a namespace."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __missing__(self, sql: str) -> str:
        named = self[sql] = sql.replace("@", self._prefix)
        return named


class Session:
    """A connection on which SQL is run. Rows are tuples."""

    def __init__(self, connection: sqlite3.Connection, names: _Names) -> None:
        self.connection = connection
        self._names = names

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(self._names[sql], parameters)

    def execute_many(self, sql: str, rows: Iterable[Any]) -> int:
        """Run one statement for each row of parameters; how many rows were changed."""
        return self.connection.executemany(self._names[sql], rows).rowcount

    def execute_in(self, sql: str, listed: Sequence[str], *before: Any) -> Iterator[sqlite3.Cursor]:
        """Run one statement for chunks of a list, which stands for ``(…)``, after the parameters ``before``.

        A chunk is filled up with its last entry to a power of two, so that few statements are kept prepared.
        """
        for start in range(0, len(listed), _CHUNK):
            chunk = tuple(listed[start : start + _CHUNK])
            width = 1 << (len(chunk) - 1).bit_length()
            marks = f"({'?,' * (width - 1)}?)"
            filled = (*before, *chunk, *(chunk[-1:] * (width - len(chunk))))
            yield self.connection.execute(self._names[sql].replace("(…)", marks), filled)

    def rows_in(self, sql: str, listed: Sequence[str], *before: Any) -> Iterator[Any]:
        """The rows of `execute_in`."""
        for cursor in self.execute_in(sql, listed, *before):
            yield from cursor.fetchall()

    def change_in(self, sql: str, listed: Sequence[str], *before: Any) -> int:
        """How many rows `execute_in` has changed."""
        return sum(cursor.rowcount for cursor in self.execute_in(sql, listed, *before))


class Database:
    """A file with our tables. Opened when first used, and again after `close` or an error. Thread-safe.

    One connection writes, one reads, so that readers do not wait for a writer's disk, and one watches for changes.
    """

    def __init__(self, options: Options) -> None:
        self._turn = Turn(options.beside("lock"), options.busy_timeout_seconds)
        self._owner = _Owner(options.path)
        names = _Names(options.prefix)
        self._writer, self._reader, self._watch = (_Link(options, names, self._owner) for _ in range(3))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Run SELECTs. Each sees the file as it is when it starts.

        Raises:
            ServiceError: sqlite3 raised an error, which is its cause.
        """
        with self._reader.use() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction, committed at the end, rolled back when the body raises. Nobody else writes meanwhile.

        Raises:
            ServiceError: sqlite3 raised an error, which is its cause. Nothing was written, unless it is
                `ServiceUnavailable` and came from the commit.
        """
        with self._writer.use() as session, self._turn:
            session.connection.execute("BEGIN IMMEDIATE")
            try:
                yield session
                session.connection.execute("COMMIT")
            except BaseException:
                if session.connection.in_transaction:  # some errors of SQLite end it by themselves
                    session.connection.execute("ROLLBACK")
                raise

    def version(self, *, connect: bool) -> int | None:
        """A number that is another one after every commit by another connection; see `Watcher`."""
        if not connect and not self._watch.connected:
            return None
        with self._watch.use() as session:
            return int(session.connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close all connections, when they are not in use any more. In a fork: nothing, they are not its own."""
        if self._owner.elsewhere:
            return
        self._writer.close(self._turn)
        for link in (self._reader, self._watch):
            link.close()
        self._owner.process = 0


class _Owner:
    """The process in which the file is open. A connection that is used in a fork of it damages the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.process = 0

    @property
    def elsewhere(self) -> bool:
        return self.process not in {0, os.getpid()}

    def check(self) -> None:
        if self.elsewhere:
            raise ServiceRefused(
                f"{self._path} was opened in process {self.process} and is used in its fork {os.getpid()}; "
                "make the app in the process that uses it"
            )


class _Link:
    """One connection, for one thread at a time; opened when first used."""

    def __init__(self, options: Options, names: _Names, owner: _Owner) -> None:
        self._options = options
        self._names = names
        self._owner = owner
        self._lock = threading.Lock()
        self._session: Session | None = None

    @property
    def connected(self) -> bool:
        return self._session is not None

    @contextmanager
    def use(self) -> Iterator[Session]:
        self._owner.check()  # before the lock: in a fork, the thread that holds it does not exist
        with self._lock:
            try:
                yield self._session or self._open()
            except SQLITE_ERRORS as error:
                self._drop()
                raise mapped(error, self._options.path) from error

    def close(self, turn: Turn | None = None) -> None:
        with self._lock:
            self._drop()
            if turn is not None:
                turn.close()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _open(self) -> Session:
        self._owner.process = os.getpid()
        self._session = Session(_connect(self._options), self._names)
        return self._session


def _connect(options: Options) -> sqlite3.Connection:
    """Open the file, and make it and its tables when they are not there.

    While several processes do so at once, SQLite fails with "locked" in places where it does not wait.
    """
    deadline = time.monotonic() + options.busy_timeout_seconds
    while True:
        connection = sqlite3.connect(
            options.path,
            timeout=options.busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            _prepare(connection, options)
            return connection
        except BaseException as error:
            connection.close()
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _prepare(connection: sqlite3.Connection, options: Options) -> None:
    _use_wal(connection, options)
    if schema.found_version(connection, options.prefix) is None:
        schema.create(connection, options.prefix)
    connection.execute(f"PRAGMA synchronous = {options.synchronous}")
    for pragma in _PRAGMAS.split(";"):
        connection.execute(pragma)


def _use_wal(connection: sqlite3.Connection, options: Options) -> None:
    mode = connection.execute("PRAGMA journal_mode = wal").fetchone()[0]
    if mode != "wal":
        raise ServiceRefused(f"{options.path}: SQLite cannot keep a write-ahead log here; use a file on a local disk")
