"""What ``sqlite://`` says when something is in its way."""

import sqlite3

import pytest

from drivetrain.contract import (
    DriverContext,
    Group,
    Message,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    State,
    TooLarge,
    Transition,
)
from drivetrain.drivers.sqlite import connection, errors, make_broker, schema


def sqlite_errors():
    kinds = {kind for kind in vars(sqlite3).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    return sorted(kinds, key=lambda kind: kind.__name__)


def result_codes():
    """Every primary result code of SQLite that Python knows."""
    raised = {"SQLITE_ERROR", "SQLITE_INTERNAL", "SQLITE_PERM", "SQLITE_ABORT", "SQLITE_BUSY", "SQLITE_LOCKED"}
    raised |= {"SQLITE_NOMEM", "SQLITE_READONLY", "SQLITE_INTERRUPT", "SQLITE_IOERR", "SQLITE_CORRUPT"}
    raised |= {"SQLITE_NOTFOUND", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_EMPTY", "SQLITE_SCHEMA"}
    raised |= {"SQLITE_TOOBIG", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_MISUSE", "SQLITE_NOLFS", "SQLITE_AUTH"}
    raised |= {"SQLITE_FORMAT", "SQLITE_RANGE", "SQLITE_NOTADB"}
    return sorted(raised)


@pytest.mark.parametrize("kind", sqlite_errors())
def test_every_error_class_of_sqlite3_is_mapped(kind, make):
    backend = make("backend")
    assert issubclass(kind, errors.SQLITE_ERRORS)
    with pytest.raises(ServiceError) as raised, backend._database.write():
        raise kind("said sqlite3")
    assert isinstance(raised.value.__cause__, kind)
    assert isinstance(raised.value, TooLarge) or "said sqlite3" in str(raised.value)
    backend.ping()


@pytest.mark.parametrize("name", result_codes())
def test_every_result_code_is_mapped(name, tmp_path):
    error = sqlite3.DatabaseError("said SQLite")
    error.sqlite_errorcode = getattr(sqlite3, name) | 1 << 8  # extended codes carry more in their upper bits
    passing = {"ABORT", "BUSY", "INTERRUPT", "IOERR", "LOCKED", "NOMEM", "PROTOCOL", "SCHEMA"}
    kind = ServiceUnavailable if name.removeprefix("SQLITE_") in passing else ServiceRefused
    assert type(errors.mapped(error, tmp_path)) is (TooLarge if name == "SQLITE_TOOBIG" else kind)


def test_text_and_numbers_that_no_column_takes_are_refused(make, messages, receive):
    broker = make("broker")
    for wrong in (messages("\ud800"), messages("a", priority=1 << 70), messages("a", priority=10)):
        with pytest.raises(ServiceRefused):
            broker.publish([*messages("good"), *wrong])
    assert receive(broker) == []


def test_a_missing_directory_is_named(tmp_path):
    broker = make_broker(f"sqlite:///{tmp_path}/nowhere/work.db", DriverContext())
    with pytest.raises(ServiceRefused, match=f"no directory {tmp_path}/nowhere; create it"):
        broker.ping()
    (tmp_path / "nowhere").mkdir()
    broker.ping()
    broker.close()


def test_a_directory_in_place_of_the_file_is_named(tmp_path):
    broker = make_broker(f"sqlite:///{tmp_path}", DriverContext())
    with pytest.raises(ServiceRefused, match="is a directory"):
        broker.ping()


def test_a_file_that_is_not_a_database_is_refused(make, tmp_path):
    (tmp_path / "work.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(ServiceRefused, match="file is not a database; name another file, or move this one away"):
        make("broker").ping()


def test_a_damaged_file_is_refused(make, tmp_path, messages, receive):
    broker = make("broker")
    broker.publish(messages(*range(1000)))
    broker.close()
    path = tmp_path / "work.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(ServiceRefused, match="restore it from a backup"):
        receive(broker)


def test_a_full_disk_is_reported_and_nothing_is_half_done(make, ids, messages, receive):
    broker = make("broker")
    broker.publish(messages("first"))
    with broker._database.write() as session:
        session.execute("PRAGMA max_page_count = 1")
    with pytest.raises(ServiceRefused, match="disk is full"):
        broker.publish([Message(id="large", queue="q", body=b"x" * 1_000_000)])
    assert ids(receive(broker)) == ["first"]


def test_a_file_that_cannot_be_written_is_reported(make, messages):
    broker = make("broker")
    broker.ping()
    with broker._database._writer.use() as session:
        session.execute("PRAGMA query_only = 1")
    with pytest.raises(ServiceRefused, match="permission to write"):
        broker.publish(messages("a"))


def test_a_file_that_another_process_writes_for_too_long_is_unavailable(make, tmp_path, ids, messages, receive):
    broker = make("broker", "?busy_timeout_seconds=0.05")
    broker.ping()
    other = sqlite3.connect(tmp_path / "work.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailable, match="locked"):
        broker.publish(messages("a"))
    other.execute("ROLLBACK")
    other.close()
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["b"]


def test_too_large_a_message_publishes_nothing(make, monkeypatch, receive):
    monkeypatch.setattr("drivetrain.drivers.sqlite.broker._LARGEST_MESSAGE_BYTES", 20)
    broker = make("broker")
    fits = Message(id="fits", queue="q", body=b"x" * 14, headers={"a": "é", "bb": ""})
    with pytest.raises(TooLarge) as raised:
        broker.publish([fits, Message(id="large", queue="q", body=b"x" * 15, headers={"abc": "é", "b": ""})])
    assert (raised.value.size, raised.value.limit) == (21, 20)
    assert receive(broker) == []
    broker.publish([fits])
    assert [delivery.message for delivery in receive(broker)] == [fits]


def test_too_large_a_value_is_refused(make, monkeypatch):
    monkeypatch.setattr("drivetrain.drivers.sqlite.backend.LARGEST_VALUE_BYTES", 20)
    backend, large = make("backend"), b"x" * 21
    for attempt in (
        lambda: backend.record([Transition(task_id="t", state=State.SUCCESS, at=1.0, payload=large)]),
        lambda: backend.record([Transition(task_id="t", state=State.PENDING, at=1.0, downstream=large)]),
        lambda: backend.open_groups([Group(group_id="g", size=1, continuation=large)]),
        lambda: backend.store_bodies({"a": b"small", "b": large}),
    ):
        with pytest.raises(TooLarge):
            attempt()
    assert sum(backend.counts().values()) == 0


def test_an_error_in_a_transaction_leaves_nothing_behind(make):
    backend = make("backend")
    with pytest.raises(KeyError), backend._database.write() as session:
        session.execute("INSERT INTO @bodies VALUES ('a', x'00')")
        raise KeyError
    assert backend.load_bodies(["a"]) == [None]


def test_use_in_a_forked_process_is_refused(make, monkeypatch, messages, receive):
    broker, backend = make("broker"), make("backend")
    broker.ping()
    backend.ping()
    monkeypatch.setattr(connection.os, "getpid", lambda: -1)
    for use in (
        broker.ping,
        lambda: broker.publish(messages("a")),
        lambda: receive(broker),
        lambda: backend.wait(["a"], timeout_seconds=1),
    ):
        with pytest.raises(ServiceRefused, match="fork"):
            use()
    broker.close()  # leaves the parent's connections alone
    monkeypatch.undo()
    broker.ping()


class EndsTransactions(sqlite3.Connection):
    """Ends the transaction by itself, as SQLite does for some errors."""

    def execute(self, sql, *parameters):
        if "CREATE TABLE" in sql:
            super().execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *parameters)


def test_an_error_that_ends_the_transaction_is_not_hidden_by_another(tmp_path):
    connection = sqlite3.connect(tmp_path / "work.db", isolation_level=None, factory=EndsTransactions)
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        schema.prepare(connection, "drivetrain_")
    connection.close()
