"""``sqlite://``, with versioned values broken as SQL breaks them (V2 to V11)."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from drivetrain.contract import ValuePage, utf8
from drivetrain.drivers.sqlite import schema, values
from drivetrain_contract_tests import Service
from mutants.backend_base import contract_of
from mutants.forks import _service
from mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TESTS = Path(__file__).resolve().parents[1]


def _sql(module, name: str, old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Changes a statement."""
    statement = getattr(module, name)
    if old not in statement:
        raise LookupError(f"{name} has no {old!r}")
    return lambda patch: patch.setattr(module, name, statement.replace(old, new))


def _function(name: str, function: Callable) -> Callable[[pytest.MonkeyPatch], None]:
    """Replaces a function of the module of values."""
    return lambda patch: patch.setattr(values, name, function)


_MATCHING = "SELECT key, value, version, ends FROM @values WHERE {} AND key > ? ORDER BY key LIMIT ?"


def _matching(condition, pattern):
    """Lists by a condition of SQL."""

    def list_page(session, prefix, limit, cursor, now):
        last = b"" if cursor is None else utf8(cursor)
        rows = session.execute(_MATCHING.format(condition), (pattern(prefix), last, limit + 1)).fetchall()
        page = rows[:limit]
        found = [(values._text(row[0]), values._value(row, now)) for row in page if row[-1] is None or row[-1] > now]
        return ValuePage(values=found, cursor=values._text(page[-1][0]) if len(rows) > len(page) else None)

    return list_page


def _escaped(prefix):
    """Escapes what LIKE knows; LIKE folds the case of ASCII all the same."""
    return "".join(f"\\{each}" if each in "\\%_" else each for each in prefix) + "%"


_list_page, _drop_expired, _write = values.list_page, values.drop_expired, values.write


def _ends_at_an_empty_page(*how):
    page = _list_page(*how)
    return page if page.values else ValuePage()


def _sweeps_numbers(session, now, limit):
    """Begins to count again when the table is empty, as TRUNCATE does."""
    _drop_expired(session, now, limit)
    if session.execute("SELECT count(*) FROM @values").fetchone() == (0,):
        session.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = '@values'")


def _whole_batch(session, writes, now):
    """Rolls the batch back when an entry is refused."""
    session.execute("SAVEPOINT batch")
    outcomes = _write(session, writes, now)
    if not all(outcome.written for outcome in outcomes):
        session.execute("ROLLBACK TO batch")
    session.execute("RELEASE batch")
    return outcomes


_IN_PLACE = """
INSERT INTO @values (key, value, ends) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, ends = excluded.ends RETURNING version
"""

_FAULTS: dict[tuple[str, str], Callable[[pytest.MonkeyPatch], None]] = {
    ("V3", "takes the next number after the largest that is stored"): _sql(schema, "_VALUES", " AUTOINCREMENT", ""),
    ("V3", "updates a row in place, with its version"): lambda patch: patch.setattr(values, "_PUT", _IN_PLACE),
    ("V3", "counts from one when a sweep has left nothing"): _function("drop_expired", _sweeps_numbers),
    ("V4", "looks for no end when it reads"): _sql(
        values, "_READ", "(ends IS NULL OR ends > ?)", "coalesce(ends, 0) IS NOT ?"
    ),
    ("V7", "rolls a batch back when an entry is refused"): _function("write", _whole_batch),
    ("V8", "lists by LIKE, and escapes prefixes"): _function(
        "list_page", _matching("key LIKE ? ESCAPE '\\'", _escaped)
    ),
    ("V8", "lists by GLOB"): _function("list_page", _matching("key GLOB ?", lambda prefix: f"{prefix}*")),
    ("V8", "lists up to U+FFFF"): lambda patch: patch.setattr(values, "_LARGEST", utf8("\uffff")),
    ("V8", "ends the list at a page of expired values"): _function("list_page", _ends_at_an_empty_page),
    ("V11", "takes no end for 0 when it sweeps"): _sql(values, "_DROP_EXPIRED", "ends <= ?", "coalesce(ends, 0) <= ?"),
}


def _service_of_processes() -> Service:
    """Its other processes have a broken backend, and this one has a right one."""
    directory = tempfile.mkdtemp(prefix="drivetrain-mutant-")
    prelude = f"sys.path.insert(0, {str(_TESTS)!r}); import broken_sqlite; broken_sqlite.install('LocksItsProcess')"
    service = Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db", prelude=prelude)
    weakref.finalize(service, shutil.rmtree, directory, ignore_errors=True)
    return service


MUTANTS = (
    *(
        Mutant(name=name, clause=clause, contract=contract_of(clause), service=_service, core=change)
        for (clause, name), change in _FAULTS.items()
    ),
    Mutant(
        name="compares versions under a lock that other processes do not know",
        clause="V2",
        contract=contract_of("V2"),
        service=_service_of_processes,
        by="test_of_many_processes_one_writes",
    ),
)
