"""What ``sqlite://`` keeps in its file."""

import sqlite3

import pytest

from drivetrain.contract import Group, Member, QueueSection, ServiceRefused, State, TaskReach, Transition, ValueWrite
from drivetrain.drivers.sqlite import backend, queries, records, values


def written(backend, **fields):
    """Write one value; its version."""
    (outcome,) = backend.write_values([ValueWrite(key="k", value=b"v", **fields)])
    assert outcome.written
    return outcome.current.version


def test_what_was_written_is_there_when_the_file_is_opened_again(make, messages, receive, sent):
    broker, backend = make("broker"), make("backend")
    broker.publish(messages("a", headers={"k": "ü\0"}, priority=3, eta=5.0))
    backend.record([sent("t")])
    backend.open_groups([Group(group_id="g", size=2)])
    version = written(backend, expires_in_seconds=60)
    broker.close()
    backend.close()
    again, backend = make("broker"), make("backend")
    assert [d.message for d in receive(again)] == messages("a", headers={"k": "ü\0"}, priority=3, eta=5.0)
    assert backend.read(["t"])[0].state is State.PENDING
    assert backend.counts()["groups"] == 1
    (value,) = backend.read_values(["k"])
    assert (value.value, value.version) == (b"v", version)
    assert 59 < value.expires_in_seconds <= 60


def test_versions_and_receipts_do_not_come_again_after_the_last_row_is_gone(make, messages, receive):
    broker, backend = make("broker"), make("backend")
    version = written(backend)
    backend.write_values([ValueWrite(key="k", value=None)])
    broker.publish(messages("a"))
    (stale,) = receive(broker)
    broker.acknowledge([stale])
    broker.close()
    backend.close()
    assert written(backend) > version
    broker.publish(messages("b"))
    receive(broker)
    broker.acknowledge([stale])
    assert broker.sizes(["q"])["q"].in_flight == 1


def test_tables_of_another_version_are_refused(make, tmp_path):
    broker = make("broker")
    broker.ping()
    broker.close()
    other = sqlite3.connect(tmp_path / "work.db")
    other.execute("UPDATE drivetrain_meta SET value = 99")
    other.commit()
    other.close()
    with pytest.raises(ServiceRefused, match=r"layout 99.*reads layout 3"):
        broker.ping()
    make("broker", "?namespace=other").ping()


def test_tables_of_layout_1_are_upgraded_and_versions_go_on_where_tokens_ended(make, tmp_path, sent):
    backend = make("backend")
    backend.record([sent("t")])
    backend.close()
    other = sqlite3.connect(tmp_path / "work.db")
    other.executescript(
        """
        ALTER TABLE drivetrain_tasks DROP COLUMN origin;
        DROP TABLE drivetrain_failed;
        DROP TABLE drivetrain_values;
        CREATE TABLE drivetrain_locks (token INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, ends REAL);
        INSERT INTO drivetrain_locks VALUES (41, 'l', 1e12);
        UPDATE drivetrain_meta SET value = 1 WHERE key = 'version';
        """
    )
    other.close()
    backend = make("backend")
    assert backend.read(["t"])[0].state is State.PENDING
    assert backend.counts()["values"] == 0
    assert written(backend) == 42
    assert make("backend").read_values(["k"])[0].version == 42


def test_records_of_layout_2_are_read_and_get_a_queue_later(make, tmp_path, sent):
    backend = make("backend")
    backend.record([sent("old", task="mod.add")])
    backend.record([Transition(task_id="failed", state=State.FAILURE, at=2.0)])
    backend.close()
    other = sqlite3.connect(tmp_path / "work.db")
    other.executescript(
        """
        ALTER TABLE drivetrain_tasks DROP COLUMN origin;
        DROP TABLE drivetrain_failed;
        UPDATE drivetrain_meta SET value = 2 WHERE key = 'version';
        """
    )
    other.close()
    backend = make("backend")
    (before,) = backend.read(["old"])
    assert (before.task, before.queue, before.workflow, before.parent) == ("mod.add", "", "", "")
    backend.record([sent("old", queue="mails", parent="p")])
    (after,) = backend.read(["old"])
    assert (after.task, after.queue, after.workflow, after.parent) == ("mod.add", "mails", "", "p")
    (failed,) = backend.list_tasks({State.FAILURE}, limit=10).records
    assert failed.task_id == "failed"


def test_namespaces_do_not_meet(make, ids, messages, receive, sent):
    one, two, none = (make("broker", more) for more in ("?namespace=one", "?namespace=two", ""))
    one.publish(messages("a"))
    assert receive(two) == receive(none) == []
    assert (one.queues(), two.queues(), none.queues()) == (["q"], [], [])
    assert ids(receive(one)) == ["a"]

    one, two, none = (make("backend", more) for more in ("?namespace=one", "?namespace=two", ""))
    one.record([sent("t")])
    one.open_groups([Group(group_id="g", size=1)])
    one.store_bodies({"k": b"v"})
    assert all(written(backend, if_version=0) for backend in (one, two, none))
    assert two.counts() == none.counts() == {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "values": 1}


def test_a_file_with_other_tables_in_it_keeps_them(make, tmp_path, messages):
    other = sqlite3.connect(tmp_path / "work.db")
    other.execute("CREATE TABLE messages (mine)")
    other.execute("INSERT INTO messages VALUES (1)")
    other.commit()
    make("broker").publish(messages("a"))
    assert other.execute("SELECT * FROM messages").fetchall() == [(1,)]
    other.close()


def test_long_lists_of_ids_are_taken(make, sent):
    backend = make("backend")
    many = [f"task {number}" for number in range(1000)]
    backend.record([sent(task_id) for task_id in many])
    assert [record.task_id for record in backend.read([*many, many[0]])] == [*many, many[0]]
    backend.forget(many[:999])
    assert [record.task_id for record in backend.list_tasks(TaskReach.UNFINISHED.states, limit=10).records] == [
        "task 999"
    ]


def test_one_batch_is_done_entry_after_entry_though_written_in_bulk(make, sent):
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


def test_a_clock_that_is_set_back_changes_no_order(make, clock, ids, messages, receive):
    broker = make("broker", clock=clock)
    broker.publish(messages("a"))
    clock.advance(-3600)
    broker.publish(messages("b"))
    broker.publish(messages("c", eta=clock.now() + 60))
    assert ids(receive(broker, hold=3600)) == ["a", "b"]
    clock.advance(60)
    assert ids(receive(broker)) == ["c"]


def test_due_messages_are_merged_with_ready_ones_in_order(make, clock, messages, receive):
    broker = make("broker", clock=clock)
    for number in range(40):
        eta = clock.now() + 7 if number % 3 == 0 else None
        broker.publish(messages(number, priority=number % 10, eta=eta))
        clock.advance(1)
    expected = sorted(range(40), key=lambda n: (-(n % 10), n + 7 if n % 3 == 0 else n, n))
    clock.advance(10)
    assert [int(message.id) for message in broker.peek("q", QueueSection.READY, limit=100)] == expected
    received = [int(delivery.message.id) for _ in range(10) for delivery in receive(broker, limit=4)]
    assert received == expected


def test_no_query_of_the_hot_path_walks_through_a_table(make):
    database_ = make("backend")._database
    asked = {"queue": 1, "now": 1.0, "limit": 1, "until": 2.0}
    statements = [(queries.NEXT, asked), (queries.RECEIVE, asked), (queries.REMOVE, (1, 1)), (queries.COUNT, asked)]
    statements += [(queries.PEEK[section.value], asked) for section in QueueSection]
    listings = (records._UNFINISHED_ROWS, records._FAILED_ROWS, records._ALL_ROWS)
    statements += [*((sql, (9, 1)) for sql in listings), (backend._EXPIRED, (1.0, 1))]
    statements += [(values._LIST, (b"a", b"b", 1)), (values._REMOVE, (b"a",)), (values._DROP_EXPIRED, (1.0, 1))]
    with database_.read() as session:
        for sql, parameters in statements:
            plan = [row[3] for row in session.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            assert not [step for step in plan if step.startswith("SCAN") and "drivetrain_" in step], sql
        for sql in (records._READ, backend._UNFINISHED_OF, backend._RUNS, values._READ):
            parameters = (1.0,) * sql.count("?")
            (steps,) = session.execute_in(f"EXPLAIN QUERY PLAN {sql}", ["a"], *parameters)
            assert "USING INDEX" in " ".join(row[3] for row in steps), sql


def test_a_page_of_a_list_passes_a_limited_number_of_rows(make, sent, monkeypatch):
    monkeypatch.setattr(records, "_PASSED", 5)
    backend = make("backend")
    backend.record([Transition(task_id="failed", state=State.FAILURE, at=1.0)])
    backend.record([sent(f"p{number}") for number in range(12)])
    backend.record([Transition(task_id=f"c{number}", state=State.CANCELLED, at=1.0) for number in range(12)])
    for states in ({State.FAILURE}, {State.FAILURE, State.STARTED}, {State.FAILURE, State.SUCCESS}):
        page, pages = backend.list_tasks(states, limit=1), 1
        assert (list(page.records), page.cursor is None) == ([], False)
        while not page.records:
            page, pages = backend.list_tasks(states, limit=1, cursor=page.cursor), pages + 1
        assert [record.task_id for record in page.records] == ["failed"]
        assert pages <= 6


def test_the_table_of_failed_tasks_has_what_is_in_such_a_state(make, tmp_path):
    backend = make("backend")

    def to(state, task_id="t", **fields):
        backend.record([Transition(task_id=task_id, state=state, at=1.0, **fields)])

    def numbers():
        other = sqlite3.connect(tmp_path / "work.db")
        found = other.execute("SELECT id FROM drivetrain_failed JOIN drivetrain_tasks USING (number)").fetchall()
        (count,) = other.execute("SELECT count(*) FROM drivetrain_failed").fetchone()
        other.close()
        assert len(found) == count
        return [task_id for (task_id,) in found]

    to(State.STARTED, run="r")
    to(State.RETRY, run="r")
    to(State.FAILURE, "u", retention=0.0)
    assert numbers() == ["t", "u"]
    backend.sweep()
    assert numbers() == ["t"]
    to(State.STARTED, run="s", attempt=1)
    assert numbers() == []
    to(State.FAILURE, run="s", attempt=1)
    assert numbers() == ["t"]
    backend.forget(["t"])
    assert numbers() == []
