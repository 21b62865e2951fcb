"""What only ``sqlite://`` does; what every driver does is in the other files of this folder."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from drivetrain.contract import (
    ConfigurationError,
    DriverContext,
    Durability,
    Group,
    Member,
    Message,
    Place,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    State,
    SystemClock,
    TooLarge,
    Transition,
)
from drivetrain.drivers.sqlite import database, errors, make_backend, make_broker, watcher
from drivetrain.drivers.sqlite.options import Options
from drivetrain.drivers.sqlite.turn import Turn
from drivetrain.drivers.sqlite.watcher import Watcher

# What the children have in common: `url`, the two drivers, and one line in, one line out.
CHILD = """
import os, sys
from drivetrain.contract import DriverContext, Message, State, Transition
from drivetrain.drivers.sqlite import make_backend, make_broker

url = sys.argv[1]
broker, backend = make_broker(url, DriverContext()), make_backend(url, DriverContext())

def say(*words):
    print(*words, flush=True)

def hear():
    return sys.stdin.readline().strip()

def receive(limit, wait=10.0, hold=30.0):
    return broker.receive(["q"], limit=limit, wait_seconds=wait, hold_seconds=hold)

def publish(ids):
    broker.publish([Message(id=str(id_), queue="q", body=b"x" * 100) for id_ in ids])
"""


class Child:
    """A process that runs a few lines of Python on the file."""

    def __init__(self, url, code):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD + code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def line(self):
        """Its next line; empty once it has ended."""
        return self.process.stdout.readline().strip()

    def lines(self):
        """All that it still says, until it ends."""
        return self.process.stdout.read().split("\n")[:-1]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def child(url):
    children = []

    def start(code):
        children.append(Child(url, code))
        return children[-1]

    yield start
    for each in children:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def make(url):
    """Makes brokers and backends of ``url``, with more behind it."""
    made = []

    def make(kind, more="", clock=None):
        maker = {"broker": make_broker, "backend": make_backend}[kind]
        made.append(maker(url + more, DriverContext(clock=clock or SystemClock())))
        return made[-1]

    yield make
    for each in made:
        each.close()


def messages(*ids, queue="q", **fields):
    return [Message(id=str(id_), queue=queue, body=b"body", **fields) for id_ in ids]


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def receive(broker, limit=100, wait=0.0, hold=30.0):
    return broker.receive(["q"], limit=limit, wait_seconds=wait, hold_seconds=hold)


def sent(task_id):
    return Transition(task_id=task_id, state=State.PENDING, at=1.0)


def ended(task_id):
    return Transition(task_id=task_id, state=State.SUCCESS, at=2.0, payload=b"1")


def assert_sound(url):
    connection = sqlite3.connect(Options.parse(url).path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# Options


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Options.parse("sqlite:///a/b.db").path == tmp_path / "a" / "b.db"
    assert Options.parse("sqlite:////a/b.db").path == Path("/a/b.db")


def test_a_later_change_of_directory_does_not_move_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broker = make_broker("sqlite:///here.db", DriverContext())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    broker.ping()
    broker.close()
    assert (tmp_path / "here.db").exists()


def test_every_fault_of_a_url_is_named_at_once():
    wrong = "sqlite:///?synchronous=half&namespace=My-App&busy_timeout_seconds=soon&namspace=a&x=1"
    with pytest.raises(ConfigurationError) as raised:
        make_broker(wrong, DriverContext())
    assert len(raised.value.faults) == 6
    assert "did you mean 'namespace'" in str(raised.value)
    assert "full or normal" in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite://work.db",
        "sqlite://host/work.db",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///directory/",
        "sqlite:///:memory:",
        "sqlite:///work.db?busy_timeout_seconds=-1",
        "sqlite:///work.db?busy_timeout_seconds=nan",
        "sqlite:///work.db?busy_timeout_seconds=1e9",
        "sqlite:///work%00.db",
    ],
)
def test_a_wrong_url_is_refused(wrong):
    for maker in (make_broker, make_backend):
        with pytest.raises(ConfigurationError) as raised:
            maker(wrong, DriverContext())
        assert len(raised.value.faults) == 1


def test_making_a_driver_touches_no_file(make, tmp_path):
    make("broker")
    make("backend")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("more", "durability"), [("", "power"), ("?synchronous=normal", "process")])
def test_durability_is_declared_and_set(make, more, durability):
    broker, backend = make("broker", more), make("backend", more)
    assert broker.capabilities.durability == backend.capabilities.durability == Durability(durability)
    with backend._database.write() as session:
        level = {"power": 2, "process": 1}[durability]
        assert session.execute("PRAGMA synchronous").fetchone() == (level,)
        assert session.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Errors


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


def test_text_and_numbers_that_no_column_takes_are_refused(make):
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


def test_a_file_that_is_no_database_is_refused(make, tmp_path):
    (tmp_path / "work.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(ServiceRefused, match="no SQLite database"):
        make("broker").ping()


def test_a_damaged_file_is_refused(make, tmp_path):
    broker = make("broker")
    broker.publish(messages(*range(1000)))
    broker.close()
    path = tmp_path / "work.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(ServiceRefused, match="restore it from a backup"):
        receive(broker)


def test_a_full_disk_is_told_and_nothing_is_half_done(make):
    broker = make("broker")
    broker.publish(messages("first"))
    with broker._database.write() as session:
        session.execute("PRAGMA max_page_count = 1")
    with pytest.raises(ServiceRefused, match="disk is full"):
        broker.publish([Message(id="large", queue="q", body=b"x" * 1_000_000)])
    assert ids(receive(broker)) == ["first"]


def test_a_file_that_cannot_be_written_is_told(make):
    broker = make("broker")
    broker.ping()
    with broker._database._writer.use() as session:
        session.execute("PRAGMA query_only = 1")
    with pytest.raises(ServiceRefused, match="permission to write"):
        broker.publish(messages("a"))


def test_a_file_that_somebody_else_writes_for_too_long_is_unavailable(make, tmp_path):
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


def test_too_large_a_message_publishes_nothing(make, monkeypatch):
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
    assert sum(backend.census().values()) == 0


def test_an_error_in_a_transaction_leaves_nothing_behind(make):
    backend = make("backend")
    with pytest.raises(KeyError), backend._database.write() as session:
        session.execute("INSERT INTO @bodies VALUES ('a', x'00')")
        raise KeyError
    assert backend.load_bodies(["a"]) == [None]


def test_use_in_a_forked_process_is_refused(make, monkeypatch):
    broker, backend = make("broker"), make("backend")
    broker.ping()
    backend.ping()
    monkeypatch.setattr(database.os, "getpid", lambda: -1)
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


# The file


def test_what_was_written_is_there_when_the_file_is_opened_again(make):
    broker, backend = make("broker"), make("backend")
    broker.publish(messages("a", headers={"k": "ü\0"}, priority=3, eta=5.0))
    backend.record([sent("t")])
    backend.open_groups([Group(group_id="g", size=2)])
    token = backend.acquire_lock("l", seconds=60)
    broker.close()
    backend.close()
    again, backend = make("broker"), make("backend")
    assert [d.message for d in receive(again)] == messages("a", headers={"k": "ü\0"}, priority=3, eta=5.0)
    assert backend.read(["t"])[0].state is State.PENDING
    assert backend.census()["groups"] == 1
    assert backend.renew_lock("l", token, seconds=60)


def test_tokens_and_receipts_do_not_come_again_after_the_last_row_is_gone(make):
    broker, backend = make("broker"), make("backend")
    token = backend.acquire_lock("l", seconds=60)
    backend.release_lock("l", token)
    broker.publish(messages("a"))
    (stale,) = receive(broker)
    broker.acknowledge([stale])
    broker.close()
    backend.close()
    assert backend.acquire_lock("l", seconds=60) > token
    broker.publish(messages("b"))
    receive(broker)
    broker.acknowledge([stale])
    assert broker.sizes(["q"])["q"].held == 1


def test_tables_of_another_version_are_refused(make, tmp_path):
    broker = make("broker")
    broker.ping()
    broker.close()
    other = sqlite3.connect(tmp_path / "work.db")
    other.execute("UPDATE drivetrain_meta SET value = 99")
    other.commit()
    other.close()
    with pytest.raises(ServiceRefused, match=r"layout 99.*reads layout 1"):
        broker.ping()
    make("broker", "?namespace=other").ping()


def test_namespaces_do_not_meet(make):
    one, two, none = (make("broker", more) for more in ("?namespace=one", "?namespace=two", ""))
    one.publish(messages("a"))
    assert receive(two) == receive(none) == []
    assert (one.queues(), two.queues(), none.queues()) == (["q"], [], [])
    assert ids(receive(one)) == ["a"]

    one, two, none = (make("backend", more) for more in ("?namespace=one", "?namespace=two", ""))
    one.record([sent("t")])
    one.open_groups([Group(group_id="g", size=1)])
    one.store_bodies({"k": b"v"})
    assert all(backend.acquire_lock("l", seconds=60) for backend in (one, two, none))
    assert two.census() == none.census() == {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "locks": 1}


def test_a_file_with_other_tables_in_it_keeps_them(make, tmp_path):
    other = sqlite3.connect(tmp_path / "work.db")
    other.execute("CREATE TABLE messages (mine)")
    other.execute("INSERT INTO messages VALUES (1)")
    other.commit()
    make("broker").publish(messages("a"))
    assert other.execute("SELECT * FROM messages").fetchall() == [(1,)]
    other.close()


def test_long_lists_of_ids_are_taken(make):
    backend = make("backend")
    many = [f"task {number}" for number in range(1000)]
    backend.record([sent(task_id) for task_id in many])
    assert [record.task_id for record in backend.read([*many, many[0]])] == [*many, many[0]]
    backend.forget(many[:999])
    assert [record.task_id for record in backend.unfinished(limit=10)] == ["task 999"]


def test_one_batch_is_done_entry_after_entry_though_written_in_bulk(make):
    # The third transition makes the record of the group's id expire at once, and the group with it.
    backend = make("backend")
    backend.open_groups([Group(group_id="g", size=2)])

    def member(task_id, index, **fields):
        return Transition(task_id=task_id, state=State.SUCCESS, at=1.0, member=Member("g", index), **fields)

    outcomes = backend.record(
        [
            sent("a"),
            member("a", 0),
            Transition(task_id="g", state=State.SUCCESS, at=1.0, retention=0.0),
            member("b", 1),
            member("a", 1),
        ]
    )
    assert [outcome.applied for outcome in outcomes] == [True, True, True, True, False]
    assert [outcome.group and outcome.group.done for outcome in outcomes] == [None, 1, None, None, None]
    assert [record and record.state for record in backend.read(["a", "b", "g"])] == [State.SUCCESS, State.SUCCESS, None]


def test_a_clock_that_is_set_back_changes_no_order(make, clock):
    broker = make("broker", clock=clock)
    broker.publish(messages("a"))
    clock.advance(-3600)
    broker.publish(messages("b"))
    assert broker.sizes(["q"])["q"].ready == 2
    assert ids(receive(broker)) == ["a", "b"]


def test_what_is_due_is_merged_with_what_is_ready_in_order(make, clock):
    broker = make("broker", clock=clock)
    for number in range(40):
        eta = clock.now() + 7 if number % 3 == 0 else None
        broker.publish(messages(number, priority=number % 10, eta=eta))
        clock.advance(1)
    expected = sorted(range(40), key=lambda n: (-(n % 10), n + 7 if n % 3 == 0 else n, n))
    clock.advance(10)
    assert [int(message.id) for message in broker.peek("q", Place.READY, limit=100)] == expected
    received = [int(delivery.message.id) for _ in range(10) for delivery in receive(broker, limit=4)]
    assert received == expected


# Waiting


@pytest.fixture
def statements(monkeypatch):
    """Every statement that is run on a connection that is opened from now on."""
    seen = []
    connect = sqlite3.connect

    def traced(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(database.sqlite3, "connect", traced)
    return seen


def test_an_idle_receive_and_an_idle_wait_only_look_at_the_version(make, statements):
    broker, backend = make("broker"), make("backend")
    backend.record([sent("t")])
    broker.publish(messages("later", eta=time.time() + 1000))
    receive(broker, wait=0.05)
    backend.wait(["t"], timeout_seconds=0.05)
    statements.clear()
    assert receive(broker, wait=0.4) == []
    assert backend.wait(["t"], timeout_seconds=0.4) == []
    others = [statement for statement in statements if statement != "PRAGMA data_version"]
    assert 30 < len(statements) - len(others) < 800
    assert len(others) < 20
    assert not any("BEGIN" in statement for statement in others)


class FakeFile:
    """Counts how often it is looked at."""

    def __init__(self):
        self.looks = 0
        self.looked = threading.Event()
        self.error = None

    def version(self, *, connect):
        self.looks += 1
        self.looked.set()
        if self.error and not connect:
            raise self.error
        return 1


def test_nobody_looks_while_nobody_waits_and_the_thread_ends(monkeypatch):
    monkeypatch.setattr(watcher, "_LINGER_SECONDS", 0.0)
    file = FakeFile()
    watching = Watcher(file, SystemClock())
    watching.wait(watching.mark(), 0.05)
    for thread in threading.enumerate():
        if thread.name == "drivetrain-sqlite-watcher":
            thread.join(10)
    assert watching._thread is None
    looks = file.looks
    assert looks > 1
    watching.wait(watching.mark(), 0.05)
    assert file.looks > looks


def test_an_error_while_looking_wakes_those_who_wait(background):
    file = FakeFile()
    watching = Watcher(file, SystemClock())
    mark = watching.mark()
    file.error = ServiceUnavailable("gone")
    waiting = background(watching.wait, mark, 30.0)
    assert waiting.result() is None


def test_a_publish_of_another_process_wakes_a_waiting_receive(make, child, background):
    broker = make("broker")
    broker.ping()
    other = child("say('ready'); hear(); publish(['a']); say('published')")
    assert other.line() == "ready"
    waiting = background(receive, broker, wait=60.0)
    other.tell()
    assert other.line() == "published"
    assert ids(waiting.result()) == ["a"]


def test_a_result_of_another_process_wakes_a_waiting_wait(make, child, background):
    backend = make("backend")
    backend.record([sent("a"), sent("b")])
    other = child(
        "say('ready'); hear()\n"
        "backend.record([Transition(task_id='b', state=State.SUCCESS, at=1.0)])\n"
        "hear(); backend.forget(['a']); say('done')"
    )
    assert other.line() == "ready"
    waiting = background(backend.wait, ["a", "b"], timeout_seconds=60.0)
    other.tell()
    assert waiting.result() == ["b"]
    waiting = background(backend.wait, ["a"], timeout_seconds=60.0)
    other.tell()
    assert waiting.result() == ["a"]


def test_close_wakes_waiters_and_the_objects_can_be_used_again(make, background, clock):
    broker, backend = make("broker", clock=clock), make("backend", clock=clock)
    backend.record([sent("t")])
    calls = [background(receive, broker, wait=60.0), background(backend.wait, ["t"], timeout_seconds=60.0)]
    clock.await_waiters(2)
    broker.close()
    backend.close()
    assert [call.result() for call in calls] == [[], []]
    broker.publish(messages("a"))
    assert ids(receive(broker)) == ["a"]


# Turns


def test_a_turn_that_is_not_given_back_only_delays(make, tmp_path):
    broker = make("broker", "?busy_timeout_seconds=0.05")
    broker.ping()
    with Turn(tmp_path / "work.db-lock", 1.0):
        broker.publish(messages("a"))
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["a", "b"]


def test_turns_are_taken_one_at_a_time(tmp_path, together):
    inside, most, numbers = [], [], count()

    def work():
        turn = Turn(tmp_path / "lock", 30.0)
        for _ in range(50):
            with turn:
                inside.append(next(numbers))
                most.append(len(inside))
                inside.pop()
        turn.close()

    together(*[work] * 4)
    assert max(most) == 1
    assert len(most) == 200


def test_a_wait_for_a_turn_that_was_given_up_leaves_nothing_locked(tmp_path):
    holder, waiter = Turn(tmp_path / "lock", 1.0), Turn(tmp_path / "lock", 0.01)
    with holder, waiter:
        assert waiter._held is None
    third = Turn(tmp_path / "lock", 30.0)
    with third:
        assert third._held is not None
    for turn in (holder, waiter, third):
        turn.close()


def test_no_turn_is_needed_where_the_lock_cannot_be_made(tmp_path):
    with Turn(tmp_path / "nowhere" / "lock", 1.0):
        assert not (tmp_path / "nowhere").exists()


# Several processes


def test_eight_processes_open_a_new_file_at_once(make, child):
    children = [child("say('ready'); hear(); backend.ping(); publish([os.getpid()]); say('done')") for _ in range(8)]
    assert [each.line() for each in children] == ["ready"] * 8
    for each in children:
        each.tell()
    assert [each.line() for each in children] == ["done"] * 8
    assert sorted(ids(receive(make("broker")))) == sorted(str(each.process.pid) for each in children)


RECEIVER = """
while deliveries := receive(23):
    say(*[delivery.message.id for delivery in deliveries])
    broker.acknowledge(deliveries)
"""


def test_processes_that_receive_from_one_file_never_hold_one_message_twice(make, child, url):
    receivers = [child(RECEIVER.replace("receive(23)", "receive(23, wait=2.0)")) for _ in range(3)]
    publishers = [
        child(f"for start in range({first}, {first} + 2000, 50): publish(range(start, start + 50))")
        for first in (0, 2000)
    ]
    received = [id_ for each in receivers for line in each.lines() for id_ in line.split()]
    assert all(each.process.wait(30) == 0 for each in (*receivers, *publishers))
    assert sorted(map(int, received)) == list(range(4000))
    assert make("broker").sizes(["q"])["q"].held == 0
    assert_sound(url)


def test_kill_9_of_receivers_loses_nothing(make, child, url):
    broker = make("broker")
    broker.publish(messages(*range(1000)))
    code = "while deliveries := receive(10, hold=0.5):\n"
    code += "    broker.acknowledge(deliveries[:5]); say(*[d.message.id for d in deliveries[:5]])"
    settled = []
    for _ in range(4):
        victim = child(code)
        for _ in range(5):
            settled += victim.line().split()
        victim.kill()
        settled += [id_ for line in victim.lines() for id_ in line.split()]
    rest = []
    while deliveries := receive(broker, wait=2.0):
        rest += ids(deliveries)
        broker.acknowledge(deliveries)
    # What was acknowledged by a process that did not live to say so is in neither.
    assert len(set(settled) & set(rest)) == 0
    assert 1000 - 4 * 5 <= len(settled) + len(rest) <= 1000
    assert len(set(rest)) == len(rest)
    assert_sound(url)


def test_kill_9_of_publishers_loses_nothing_that_was_acknowledged(make, child, url):
    code = (
        "from itertools import count\nfor number in count(): publish([f'{number}.{i}' for i in range(20)]); say(number)"
    )
    broker = make("broker")
    for _ in range(4):
        victim = child(code)
        for _ in range(20):
            last = int(victim.line())
        victim.kill()
        last = max([last, *(int(line) for line in victim.lines() if line)])
        found = []
        while deliveries := receive(broker, limit=1000):
            found += ids(deliveries)
            broker.acknowledge(deliveries)
        batches = len(found) // 20  # whole ones only: the one that was being published is there, or not at all
        assert batches in (last + 1, last + 2)
        assert found == [f"{number}.{i}" for number in range(batches) for i in range(20)]
    assert_sound(url)


def test_kill_9_while_recording_leaves_whole_batches(make, child, url):
    code = "from itertools import count\nfor number in count():\n"
    code += (
        "    backend.record([Transition(task_id=f'{number}.{i}', state=State.PENDING, at=1.0) for i in range(20)])\n"
    )
    code += "    say(number)"
    victim = child(code)
    for _ in range(20):
        last = int(victim.line())
    victim.kill()
    last = max([last, *(int(line) for line in victim.lines() if line)])
    tasks = make("backend").census()["tasks"]
    assert tasks in ((last + 1) * 20, (last + 2) * 20)
    assert_sound(url)


def test_a_lock_has_one_holder_among_processes(child, make):
    code = "say('ready'); hear(); say(backend.acquire_lock('l', seconds=60))"
    children = [child(code) for _ in range(4)]
    assert [each.line() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    tokens = [each.line() for each in children]
    assert sorted(tokens)[1:] == ["None"] * 3
    assert make("backend").acquire_lock("l", seconds=60) is None


def test_a_stopped_writer_does_not_block_others_for_ever(child, make, tmp_path):
    broker = make("broker", "?busy_timeout_seconds=0.05")
    broker.ping()
    stopped = child("say('ready')\nwith broker._database.write():\n    say('inside'); hear()\nsay('out')")
    assert [stopped.line(), stopped.line()] == ["ready", "inside"]
    os.kill(stopped.process.pid, signal.SIGSTOP)
    with pytest.raises(ServiceUnavailable, match="look for one that is stopped"):
        broker.publish(messages("a"))
    assert receive(broker) == []
    os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.tell()
    assert stopped.line() == "out"
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["b"]
