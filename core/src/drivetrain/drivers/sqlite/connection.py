"""The database file: its connections and transactions."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivetrain.contract import ServiceRefused, chunks
from drivetrain.drivers.sqlite import fork_safety, schema
from drivetrain.drivers.sqlite.errors import SQLITE_ERRORS, locked, mapped
from drivetrain.drivers.sqlite.options import Options
from drivetrain.drivers.sqlite.write_lock import WriteLock

__all__ = ["Database", "Session"]

#: The longest list of parameters in a statement.
_LIST_LENGTH = 256
#: The pause before opening or writing is tried again while another process has the file locked.
_RETRY_SECONDS = 0.005
#: How long a writer waits for the write lock before it tries without: the holder may be stopped.
_WRITE_LOCK_SECONDS = 0.1

_PRAGMAS = """
PRAGMA cache_size = -16000;
PRAGMA temp_store = memory;
PRAGMA wal_autocheckpoint = 2000;
PRAGMA journal_size_limit = 67108864
"""


class _Names(dict[str, str]):
    """SQL with the tables of a namespace, by SQL with ``@`` in place of their prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __missing__(self, sql: str) -> str:
        named = self[sql] = sql.replace("@", self._prefix)
        return named


class Session:
    """Runs SQL on a connection. Rows are tuples. For one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, names: _Names) -> None:
        self.connection = connection
        self._names = names

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(self._names[sql], parameters)

    def execute_many(self, sql: str, rows: Iterable[Any]) -> int:
        """Run one statement for each row of parameters; how many rows it has changed."""
        return self.connection.executemany(self._names[sql], rows).rowcount

    def execute_in(self, sql: str, listed: Sequence[str | bytes | int], *before: Any) -> Iterator[sqlite3.Cursor]:
        """Run one statement for chunks of a list, which replace ``(…)``, after the parameters ``before``.

        The last entry fills a chunk up to a power of two, so that few different statements are prepared.
        """
        for part in chunks(listed, _LIST_LENGTH):
            chunk = tuple(part)
            width = 1 << (len(chunk) - 1).bit_length()
            marks = f"({'?,' * (width - 1)}?)"
            filled = (*before, *chunk, *(chunk[-1:] * (width - len(chunk))))
            yield self.connection.execute(self._names[sql].replace("(…)", marks), filled)

    def rows_in(self, sql: str, listed: Sequence[str | bytes | int], *before: Any) -> Iterator[Any]:
        """The rows of `execute_in`."""
        for cursor in self.execute_in(sql, listed, *before):
            yield from cursor.fetchall()

    def change_in(self, sql: str, listed: Sequence[str | bytes | int], *before: Any) -> int:
        """How many rows `execute_in` has changed."""
        return sum(cursor.rowcount for cursor in self.execute_in(sql, listed, *before))


class Database:
    """The database file. The first use opens it, and the first use after `close`, an error or a fork. Thread-safe.

    It has three connections. One writes and one reads, so that no reader waits for a writer's disk. The third one
    detects changes.

    Args:
        options: the options of its URL.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        #: Held by the thread that writes, or waits for other processes to write.
        self._writing = threading.Lock()
        self._write_lock = WriteLock(options.sibling("lock"))
        self._owner = _Owner(options.path)
        names = _Names(options.prefix)
        # `write` waits itself, outside of SQLite, so that a fork does not have to wait too.
        self._writer = _Connection(options, names, self._owner, busy_seconds=0.0)
        self._reader, self._watch = (
            _Connection(options, names, self._owner, busy_seconds=options.busy_timeout_seconds) for _ in range(2)
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Run SELECTs. Each one sees the commits before its start.

        Raises:
            ServiceError: sqlite3 raised an error, which is the cause.
        """
        with self._reader.use() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Run a transaction: commit it at the end, roll it back if the body raises. No one else writes meanwhile.

        Raises:
            ServiceError: sqlite3 raised an error, which is the cause. Nothing was written, unless the error is
                `ServiceUnavailable` and came from the commit.
            ServiceUnavailable: other writers have held the file for the URL's ``busy_timeout_seconds``.
        """
        self._owner.check()  # before the lock: in a child, the thread that holds it does not exist
        deadline = time.monotonic() + self._options.busy_timeout_seconds
        if not self._writing.acquire(timeout=self._options.busy_timeout_seconds):
            raise locked(self._options)
        try:
            while True:
                # Outside of SQLite's calls, since a fork waits for their end.
                self._write_lock.acquire(max(0.0, min(deadline - time.monotonic(), _WRITE_LOCK_SECONDS)))
                with self._writer.use() as session:
                    if self._begins(session.connection, deadline):
                        try:
                            yield session
                            session.connection.execute("COMMIT")
                        except BaseException:  # raised again: nothing may leave a transaction open
                            if session.connection.in_transaction:  # some errors of SQLite have ended it
                                session.connection.execute("ROLLBACK")
                            raise
                        return
                time.sleep(_RETRY_SECONDS)
        finally:
            self._write_lock.release()
            self._writing.release()

    def _begins(self, connection: sqlite3.Connection, deadline: float) -> bool:
        """Begin a transaction; False if another process is in the middle of one, and there is time to try again."""
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            if time.monotonic() >= deadline:
                raise locked(self._options) from error
            return False  # the caller tries again until the deadline
        return True

    @property
    def reads(self) -> bool:
        """Whether the connection that reads is open."""
        return self._reader.connected

    def version(self, *, connect: bool) -> tuple[int, int] | None:
        """A value that is different after every commit by another connection; see `Watcher`."""
        if not connect and not self._watch.connected:
            return None
        with self._watch.use() as session:
            # SQLite's number is comparable within one connection only.
            return self._watch.opened, int(session.connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close each connection when no thread uses it. In a forked child do nothing: they are the parent's."""
        if self._owner.elsewhere:
            return
        with self._writing:
            self._write_lock.close()
        for connection in (self._writer, self._reader, self._watch):
            connection.close()
        self._owner.process = 0


class _Owner:
    """The process that uses the file. A forked child of it has none of its threads and locks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.process = 0

    @property
    def elsewhere(self) -> bool:
        return self.process not in {0, os.getpid()}

    def check(self) -> None:
        """Let this process own the file, if none does.

        Raises:
            ServiceRefused: another process does.
        """
        if self.process == 0:
            self.process = os.getpid()
        elif self.elsewhere:
            raise ServiceRefused(
                f"{self._path} was opened in process {self.process} and is used in its fork {os.getpid()}; "
                "make the app in the process that uses it"
            )


class _Connection:
    """One connection, for one thread at a time. The first use opens it. See `fork_safety.Pausable`."""

    def __init__(self, options: Options, names: _Names, owner: _Owner, *, busy_seconds: float) -> None:
        self._options = options
        #: How long SQLite waits while another process has the file locked.
        self._busy_seconds = busy_seconds
        self._names = names
        self._owner = owner
        self._lock = threading.Lock()
        #: The thread that uses the connection.
        self._user: int | None = None
        self._session: Session | None = None
        self.path = options.path
        #: The number of times that it was opened.
        self.opened = 0
        fork_safety.pause_at_forks(self)

    @property
    def connected(self) -> bool:
        return self._session is not None

    @contextmanager
    def use(self) -> Iterator[Session]:
        self._owner.check()  # before the lock: in a fork, the thread that holds it does not exist
        with self._lock:
            self._user = threading.get_ident()
            try:
                yield self._session or self._open()
            except SQLITE_ERRORS as error:
                self._drop()
                raise mapped(error, self._options.path) from error
            finally:
                self._user = None

    def close(self) -> None:
        with self._lock:
            self._drop()

    @property
    def in_use(self) -> bool:
        return self.connected or self._lock.locked()

    def pause(self, seconds: float) -> bool:
        if self._user == threading.get_ident() or not self._lock.acquire(timeout=seconds):
            return False
        self._drop()
        return True

    def resume(self) -> None:
        self._lock.release()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _open(self) -> Session:
        fork_safety.check_usable(self.path)
        connection = _connect(self._options)
        connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
        self._session = Session(connection, self._names)
        self.opened += 1
        return self._session


def _connect(options: Options) -> sqlite3.Connection:
    """Open the file. Make it, and its tables, when they are missing.

    SQLite raises "locked" without waiting while several processes do that at once; each tries again.
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
            # Otherwise another process has it locked for an instant: try again until the deadline.
        time.sleep(_RETRY_SECONDS)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _prepare(connection: sqlite3.Connection, options: Options) -> None:
    _use_wal(connection, options)
    if schema.found_version(connection, options.prefix) != schema.VERSION:
        schema.prepare(connection, options.prefix)
    connection.execute(f"PRAGMA synchronous = {options.synchronous}")
    for pragma in _PRAGMAS.split(";"):
        connection.execute(pragma)


def _use_wal(connection: sqlite3.Connection, options: Options) -> None:
    mode = connection.execute("PRAGMA journal_mode = wal").fetchone()[0]
    if mode != "wal":
        raise ServiceRefused(f"{options.path}: SQLite cannot use a write-ahead log here; use a file on a local disk")
