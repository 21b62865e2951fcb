"""The tables of a namespace, their creation, and the upgrade of those that an earlier drivetrain has made.

In all SQL of this driver ``@`` stands for the prefix of the namespace, and ``(…)`` for a list of parameters.
"""

from __future__ import annotations

import sqlite3

from drivetrain.contract import ServiceRefused

__all__ = ["VERSION", "found_version", "prepare"]

#: The version of the tables' layout. It is stored in the file.
VERSION = 3

# The code below splits SQL at semicolons, so a semicolon may only end a statement.

# `version` is AUTOINCREMENT, so that each write gets a larger one than ever before. Keys are BLOBs of UTF-8, since TEXT
# takes no half of a surrogate pair. `ends` is NULL for a value without an end.
_VALUES = """
CREATE TABLE @values (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL,
    ends REAL
);
CREATE INDEX @values_ends ON @values (ends) WHERE ends IS NOT NULL
"""

# The numbers of tasks in states that are rare. A partial index on `state` would do the same, but makes each change of a
# record a third slower.
_FAILED = "CREATE TABLE @failed (number INTEGER PRIMARY KEY)"

_TABLES = f"""
CREATE TABLE @meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE @queues (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- `at` sorts the messages of a section. It is the time since which a message is ready, at which it is due, at which its
-- hold ends, or at which it was dead-lettered. `turn` is the `at` that a message in flight had in the ready section.
-- A receipt is (seq, deliveries), so no pair may repeat: seq is AUTOINCREMENT, and deliveries only grows.
CREATE TABLE @messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    section TEXT NOT NULL CHECK (section IN ('ready', 'delayed', 'in_flight', 'dead')),
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    at REAL NOT NULL,
    turn REAL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    forgiven INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    eta REAL,
    id TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX @messages_order ON @messages (queue, section, priority DESC, at);

-- `expires` is NULL while a task is unfinished, and infinite for a record without expiry, so that one index finds
-- unfinished, finished and expired records.
CREATE TABLE @tasks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    task TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT '',
    run TEXT,
    leased_until REAL,
    starts INTEGER NOT NULL,
    expires REAL,
    history TEXT NOT NULL,
    downstream BLOB,
    payload BLOB
);
CREATE INDEX @tasks_expires ON @tasks (expires);
{_FAILED};

CREATE TABLE @groups (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    collect INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    continuation BLOB NOT NULL
);
CREATE TABLE @members (
    grp INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (grp, idx)
) WITHOUT ROWID;

CREATE TABLE @bodies (key TEXT NOT NULL UNIQUE, body BLOB NOT NULL)
"""

#: What makes the next version of a version that is found. Versions of values go on where the tokens of locks ended, so
#: that a system behind a lock refuses no later holder.
_UPGRADES = {
    1: f"""
{_VALUES};
INSERT INTO sqlite_sequence (name, seq) SELECT '@values', seq FROM sqlite_sequence WHERE name = '@locks';
DROP TABLE @locks
""",  # noqa: S608 - built from constants
    2: f"""
ALTER TABLE @tasks ADD COLUMN origin TEXT NOT NULL DEFAULT '';
{_FAILED};
INSERT INTO @failed SELECT number FROM @tasks WHERE state IN ('RETRY', 'FAILURE', 'CANCELLED', 'EXPIRED')
""",  # noqa: S608 - built from constants
}


def found_version(connection: sqlite3.Connection, prefix: str) -> int | None:
    """The version of the tables in the file, or None when there are none.

    Raises:
        ServiceRefused: this drivetrain does not read that version.
    """
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (f"{prefix}meta",)).fetchone()
    if known is None:
        return None
    row = connection.execute(_scoped("SELECT value FROM @meta WHERE key = 'version'", prefix)).fetchone()
    found = row[0] if row else None
    if found not in {VERSION, *_UPGRADES}:
        raise ServiceRefused(
            f"the tables {prefix}* have layout {found}, and this drivetrain reads layout {VERSION}; finish the work "
            "with the drivetrain that made them, then use a new file or another namespace"
        )
    return int(found)


def prepare(connection: sqlite3.Connection, prefix: str) -> None:
    """Make all tables, or upgrade them. Does nothing if another process has just done so."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = found_version(connection, prefix)
        if found != VERSION:
            steps = [_TABLES, _VALUES] if found is None else [_UPGRADES[step] for step in range(found, VERSION)]
            for statement in _scoped(";".join(steps), prefix).split(";"):
                connection.execute(statement)
            connection.execute(_scoped("INSERT OR REPLACE INTO @meta VALUES ('version', ?)", prefix), (VERSION,))
    except BaseException:  # raised again: nothing may leave a transaction open
        if connection.in_transaction:  # some errors of SQLite have ended it; a ROLLBACK would hide them
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _scoped(sql: str, prefix: str) -> str:
    return sql.replace("@", prefix)
