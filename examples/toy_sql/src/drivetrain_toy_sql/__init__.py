"""``toysql:///some/file.db``: a backend in a SQL database, SQLite by Python's standard library.

Each call is one transaction: it reads records, lets the driver kit decide, and writes. The database keeps other writers
out meanwhile. A call takes one connection from a pool.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    ConnectionPool,
    DriverContext,
    DriverUrl,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    GroupTally,
    NotSupported,
    Outcome,
    Renewal,
    RunLease,
    ServiceRefused,
    ServiceUnavailable,
    State,
    TaskPage,
    TaskReach,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    check_driver_options,
    check_size,
    check_transition_sizes,
    check_value_sizes,
    chunks,
    decode_record,
    encode_record,
    finish_before_forks,
    fold_transitions,
    group_record,
    hookimpl,
    is_expired,
    namespace_option,
    raise_for_faults,
    read_options,
    record_and_complete,
    renew_record,
    seconds_option,
    service_name,
    shorten_record,
    takes_effect,
    utf8,
)

LARGEST_VALUE_BYTES = 400_000_000  # a record holds two values, and SQLite takes a billion bytes
PARAMETERS = 500  # of one statement
SWEPT = 1000  # records in one call of sweep

# An id is any text, with NUL and halves of surrogate pairs in it, and a text column is not: ids are bytes.
# Each write of a value is a new row. AUTOINCREMENT gives it a version that no row ever had; a server has a sequence.
SCHEMA = """
CREATE TABLE IF NOT EXISTS {0}_tasks (id BLOB PRIMARY KEY, record BLOB NOT NULL, state TEXT NOT NULL, expires REAL);
CREATE INDEX IF NOT EXISTS {0}_listed ON {0}_tasks (id) WHERE state != 'SUCCESS';
CREATE INDEX IF NOT EXISTS {0}_expiring ON {0}_tasks (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS {0}_groups (id BLOB PRIMARY KEY, size INTEGER NOT NULL, collect INTEGER NOT NULL,
    done INTEGER NOT NULL, failed INTEGER NOT NULL, continuation BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS {0}_members (id BLOB, position INTEGER, payload BLOB NOT NULL, PRIMARY KEY (id, position));
CREATE TABLE IF NOT EXISTS {0}_bodies (id BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS {0}_values (version INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL, ends REAL);
"""


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise errors of SQLite as errors of the contract."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise ServiceUnavailable(f"the database cannot be used: {error}") from error
    except (sqlite3.Error, OverflowError) as error:
        raise ServiceRefused(f"the database refuses: {error}") from error


@frozen
class Transaction:
    """A transaction: its connection, the beginning of the names of its tables, and its time in Unix seconds.

    A server has the time: there ``now`` is the result of SELECT now().
    """

    connection: sqlite3.Connection
    tables: str
    now: float

    def run(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        return self.connection.execute(sql.format(self.tables), parameters)

    def run_each(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self.connection.executemany(sql.format(self.tables), rows)

    # Records

    def stored(self, task_ids: Collection[str]) -> dict[str, TaskRecord]:
        """The records of tasks by id, expired ones too. A server locks the rows, in the order of their ids."""
        found: dict[str, TaskRecord] = {}
        for part in chunks(sorted({utf8(task_id) for task_id in task_ids}), PARAMETERS):
            marks = ", ".join("?" * len(part))
            for (data,) in self.run(f"SELECT record FROM {{0}}_tasks WHERE id IN ({marks}) ORDER BY id", *part):
                record = decode_record(data)
                found[record.task_id] = record
        return found

    def known(self, task_ids: Collection[str]) -> dict[str, TaskRecord]:
        """The records that have not expired."""
        return {name: record for name, record in self.stored(task_ids).items() if not is_expired(record, self.now)}

    def store(self, records: Iterable[TaskRecord]) -> None:
        rows = [(utf8(one.task_id), encode_record(one), one.state, one.expires_at) for one in records]
        self.run_each(
            "INSERT INTO {0}_tasks VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET record = excluded.record, state = excluded.state, expires = excluded.expires",
            rows,
        )

    def drop(self, ids: Iterable[bytes]) -> None:
        """Drop records in any state, and the groups of the same ids."""
        rows = [(one,) for one in ids]
        for table in ("tasks", "groups", "members"):
            self.run_each(f"DELETE FROM {{0}}_{table} WHERE id = ?", rows)

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Record transitions without completing their members."""
        folded = fold_transitions(transitions, self.stored([one.task_id for one in transitions]), self.now)
        self.drop(map(utf8, folded.expired))
        self.store(folded.changed.values())
        return folded.outcomes

    # Groups

    def group(self, group_id: str) -> tuple[Group, GroupTally] | None:
        """A group and the count of its members; None if the record of its id has expired."""
        row = self.run(
            "SELECT size, collect, done, failed, continuation FROM {0}_groups AS found WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM {0}_tasks AS task WHERE task.id = found.id AND task.expires <= ?)",
            utf8(group_id),
            self.now,
        ).fetchone()
        if row is None:
            return None
        size, collect, done, failed, continuation = row
        group = Group(group_id=group_id, size=size, collect=bool(collect), continuation=continuation)
        return group, GroupTally(size=size, collect=group.collect, done=done, failed=bool(failed))

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        return [self.complete_one(completion) for completion in completions]

    def complete_one(self, completion: Completion) -> GroupProgress | None:
        name, position = utf8(completion.member.group_id), completion.member.index
        found = self.group(completion.member.group_id)
        if found is None:
            return None
        _, tally = found
        insert = "INSERT INTO {0}_members VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        if tally.has(position) and self.run(insert, name, position, completion.payload).rowcount:
            tally.add(failed=completion.failed)
            self.run("UPDATE {0}_groups SET done = ?, failed = ? WHERE id = ?", tally.done, tally.failed, name)
        return tally.progress()

    # Versioned values

    def value(self, key: str) -> VersionedValue | None:
        row = self.run("SELECT value, version, ends FROM {0}_values WHERE id = ?", utf8(key)).fetchone()
        return None if row is None else self.seen(*row)

    def seen(self, value: bytes, version: int, ends: float | None) -> VersionedValue | None:
        """The value of a row; None if it has ended."""
        if ends is None:
            return VersionedValue(value=value, version=version)
        seconds = ends - self.now
        return VersionedValue(value=value, version=version, expires_in_seconds=seconds) if seconds > 0 else None

    def write(self, write: ValueWrite) -> ValueOutcome:
        stored = self.value(write.key)
        if not takes_effect(write, stored):
            return ValueOutcome(written=False, current=stored)
        self.run("DELETE FROM {0}_values WHERE id = ?", utf8(write.key))
        if write.value is not None:
            ends = None if write.expires_in_seconds is None else self.now + write.expires_in_seconds
            row = (utf8(write.key), write.value, ends)
            self.run("INSERT INTO {0}_values (id, value, ends) VALUES (?, ?, ?)", *row)
        return ValueOutcome(written=True, current=self.value(write.key))


class SqlBackend:
    capabilities = BackendCapabilities(
        durability=Durability.PROCESS,  # see PRAGMA synchronous
        largest_value_bytes=LARGEST_VALUE_BYTES,
        lists_tasks=TaskReach.FAILED,
    )

    def __init__(self, path: Path, namespace: str, timeout_seconds: float, clock: Clock) -> None:
        self._path = path
        self._tables = service_name(namespace)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._pool = ConnectionPool(self._connect, sqlite3.Connection.close)

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=self._timeout_seconds, isolation_level=None, check_same_thread=False
        )
        connection.executescript("PRAGMA synchronous = off;" + SCHEMA.format(self._tables))
        return connection

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[Transaction]:
        """A transaction. If the block raises, the pool closes the connection, which rolls back.

        A fork waits for its end: SQLite's locks belong to a process, and a child would inherit its idea of them.
        """
        with database_errors(), finish_before_forks(), self._pool.connection() as connection:
            connection.execute(begin)
            yield Transaction(connection, self._tables, self._clock.now())
            connection.execute("COMMIT")

    # Tasks

    def ping(self) -> None:
        with self._transaction("BEGIN"):
            pass

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        check_transition_sizes(transitions, LARGEST_VALUE_BYTES)
        with self._transaction() as transaction:
            return record_and_complete(transitions, transaction.record, transaction.complete)

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        with self._transaction("BEGIN") as transaction:
            known = transaction.known(task_ids)
            return [known.get(task_id) for task_id in task_ids]

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        del task_ids, timeout_seconds
        raise NotSupported("toysql:// does not report that a task has ended; poll with read")

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        with self._transaction() as transaction:
            known, renewals = transaction.known([lease.task_id for lease in leases]), []
            for lease in leases:
                renewal, renewed = renew_record(known.get(lease.task_id), lease, transaction.now)
                renewals.append(renewal)
                if renewed is not None:
                    known[lease.task_id] = renewed
            transaction.store(known.values())
            return renewals

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        with self._transaction() as transaction:
            known, expires_at = transaction.known(task_ids), transaction.now + retention_seconds
            shortened = [shorten_record(record, expires_at) for record in known.values()]
            transaction.store(record for record in shortened if record is not None)

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._transaction() as transaction:
            transaction.drop(map(utf8, task_ids))

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        # A page of rows: few of these tasks may be in one of the states, or none.
        sql = "SELECT id, record FROM {0}_tasks WHERE state != 'SUCCESS' AND id >= ? ORDER BY id LIMIT ?"
        with self._transaction("BEGIN") as transaction:
            start = b"" if cursor is None else bytes.fromhex(cursor) + b"\0"  # the smallest id after the cursor
            rows = transaction.run(sql, start, limit).fetchall()
            found = [decode_record(data) for _, data in rows]
            records = [one for one in found if one.state in states and not is_expired(one, transaction.now)]
            return TaskPage(records=records, cursor=rows[-1][0].hex() if len(rows) == limit else None)

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        for group in groups:
            check_size("a continuation", group.continuation, LARGEST_VALUE_BYTES)
        with self._transaction() as transaction:
            stored = transaction.stored([group.group_id for group in groups])
            transaction.drop(utf8(name) for name, record in stored.items() if is_expired(record, transaction.now))
            rows = [(utf8(one.group_id), one.size, one.collect, one.continuation) for one in groups]
            transaction.run_each("INSERT INTO {0}_groups VALUES (?, ?, ?, 0, 0, ?) ON CONFLICT DO NOTHING", rows)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        for completion in completions:
            check_size("a payload", completion.payload, LARGEST_VALUE_BYTES)
        with self._transaction() as transaction:
            return transaction.complete(completions)

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        with self._transaction("BEGIN") as transaction:
            found = [transaction.group(group_id) for group_id in group_ids]
            return [None if one is None else group_record(one[0], one[1].progress()) for one in found]

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        with self._transaction("BEGIN") as transaction:
            found = transaction.group(group_id)
            if found is None:
                return []
            rows = transaction.run("SELECT position, payload FROM {0}_members WHERE id = ?", utf8(group_id))
            payloads = dict(rows.fetchall())
            return [payloads.get(position) for position in range(found[0].size)]

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        for body in bodies.values():
            check_size("a body", body, LARGEST_VALUE_BYTES)
        sql = "INSERT INTO {0}_bodies VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        with self._transaction() as transaction:
            transaction.run_each(sql, [(utf8(key), body) for key, body in bodies.items()])

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        with self._transaction("BEGIN") as transaction:
            sql = "SELECT body FROM {0}_bodies WHERE id = ?"
            rows = [transaction.run(sql, utf8(key)).fetchone() for key in keys]
            return [None if row is None else row[0] for row in rows]

    def drop_bodies(self, keys: Sequence[str]) -> None:
        with self._transaction() as transaction:
            transaction.run_each("DELETE FROM {0}_bodies WHERE id = ?", [(utf8(key),) for key in keys])

    # Versioned values

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        with self._transaction("BEGIN") as transaction:
            return [transaction.value(key) for key in keys]

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        check_value_sizes(writes, LARGEST_VALUE_BYTES)
        with self._transaction() as transaction:
            return [transaction.write(write) for write in writes]

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        first, end = utf8(prefix), utf8(prefix) + b"\xff"  # UTF-8 has no byte 0xFF
        sql = "SELECT id, value, version, ends FROM {0}_values WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        with self._transaction("BEGIN") as transaction:
            start = first if cursor is None else bytes.fromhex(cursor) + b"\0"  # the smallest id after the cursor
            rows = transaction.run(sql, start, end, limit).fetchall()
            found = [(name.decode("utf-8", "surrogatepass"), transaction.seen(*row)) for name, *row in rows]
            values = [(key, value) for key, value in found if value is not None]
            return ValuePage(values=values, cursor=rows[-1][0].hex() if len(rows) == limit else None)

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        del seen, prefix, timeout_seconds
        raise NotSupported("toysql:// does not report that a value has changed; poll with read_values")

    # Upkeep

    def sweep(self) -> int:
        with self._transaction() as transaction:
            sql = "SELECT id FROM {0}_tasks WHERE expires <= ? ORDER BY id LIMIT ?"
            expired = [name for (name,) in transaction.run(sql, transaction.now, SWEPT)]
            transaction.drop(expired)
            transaction.run("DELETE FROM {0}_values WHERE ends <= ?", transaction.now)
            return len(expired)

    def counts(self) -> Mapping[str, int]:
        while self.sweep():
            pass
        with self._transaction("BEGIN") as transaction:
            return {
                table: transaction.run(f"SELECT count(*) FROM {{0}}_{table}").fetchone()[0]
                for table in ("tasks", "groups", "members", "bodies", "values")
            }

    def close(self) -> None:
        self._pool.clear()


@hookimpl
def make_backend(url: str, context: DriverContext) -> SqlBackend:
    check_driver_options("toysql", context.options)
    parts = DriverUrl.parse(url)
    known = {"namespace": namespace_option, "call_timeout_seconds": seconds_option(0.001, 3600)}
    options, faults = read_options(parts.options, known)
    if not (parts.netloc + parts.path).strip("/"):
        faults.append("it names no file; write toysql://some/file.db or toysql:///some/file.db")
    raise_for_faults("toysql", parts, faults)
    return SqlBackend(
        context.directory / (parts.netloc + parts.path),
        options.get("namespace", context.namespace),
        options.get("call_timeout_seconds", 20.0),
        context.clock,
    )
