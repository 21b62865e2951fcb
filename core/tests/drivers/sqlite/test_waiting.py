"""How ``sqlite://`` notices changes, and how its writers take turns."""

import sqlite3
import threading
import time
from itertools import count

import pytest

from drivetrain.contract import ServiceUnavailable, SystemClock
from drivetrain.drivers.sqlite import database, files, hints, watcher
from drivetrain.drivers.sqlite.hints import Hint
from drivetrain.drivers.sqlite.turn import Turn
from drivetrain.drivers.sqlite.watcher import Watcher


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


@pytest.fixture
def no_hints(monkeypatch):
    """As where nobody tells when a file was closed, or no more of those who do are to be had."""

    def refuse(path):
        raise OSError(f"not {path}")

    monkeypatch.setattr(hints, "_watch", refuse)


@pytest.fixture
def hints_only(monkeypatch):
    """What is not hinted is not found in time."""
    if hints.sys.platform != "linux":
        pytest.skip("hints are heard on Linux only")
    monkeypatch.setattr(watcher, "_BUSY_SECONDS", 20.0)
    monkeypatch.setattr(watcher, "_HINTED_IDLE_SECONDS", 20.0)


def test_an_idle_receive_and_an_idle_wait_only_look_at_the_version(no_hints, make, statements, messages, receive, sent):
    broker, backend = make("broker"), make("backend")
    backend.record([sent("t")])
    broker.publish(messages("later", eta=time.time() + 1000))
    receive(broker, wait=0.05)
    backend.wait(["t"], timeout_seconds=0.05)
    statements.clear()
    assert receive(broker, wait=0.4) == []
    assert backend.wait(["t"], timeout_seconds=0.4) == {}
    others = [statement for statement in statements if statement != "PRAGMA data_version"]
    assert 30 < len(statements) - len(others) < 800
    assert len(others) < 20
    assert not any("BEGIN" in statement for statement in others)


def test_where_there_are_hints_the_file_is_hardly_looked_at(hints_only, make, statements, receive, sent):
    broker, backend = make("broker"), make("backend")
    backend.record([sent("t")])
    receive(broker, wait=0.05)
    backend.wait(["t"], timeout_seconds=0.05)
    statements.clear()
    assert receive(broker, wait=0.4) == []
    assert backend.wait(["t"], timeout_seconds=0.4) == {}
    assert 2 <= len(statements) < 20


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


@pytest.fixture
def await_watchers():
    """Waits for the end of the threads that were started in the test to watch."""
    before = set(threading.enumerate())

    def wait():
        for thread in set(threading.enumerate()) - before:
            if thread.name == "drivetrain-sqlite-watcher":
                thread.join(10)

    return wait


@pytest.fixture
def hint(tmp_path):
    return Hint(tmp_path / "hint")


def test_nobody_looks_while_nobody_waits_and_the_thread_ends(monkeypatch, hint, await_watchers):
    monkeypatch.setattr(watcher, "_LINGER_SECONDS", 0.0)
    file = FakeFile()
    watching = Watcher(file, SystemClock(), hint)
    watching.wait(watching.mark(), 0.05)
    await_watchers()
    assert watching._thread is None
    looks = file.looks
    assert looks > 1
    watching.wait(watching.mark(), 0.05)
    assert file.looks > looks


def test_an_error_while_looking_wakes_those_who_wait(background, hint):
    file = FakeFile()
    watching = Watcher(file, SystemClock(), hint)
    mark = watching.mark()
    file.error = ServiceUnavailable("gone")
    waiting = background(watching.wait, mark, 30.0)
    assert waiting.result() is None


@pytest.mark.parametrize("how", ["hints_only", "no_hints"])
def test_a_publish_of_another_process_wakes_a_waiting_receive(request, how, make, child, background, ids, receive):
    request.getfixturevalue(how)
    broker = make("broker")
    broker.ping()
    other = child("say('ready'); hear(); publish(['a']); say('published')")
    assert other.line() == "ready"
    waiting = background(receive, broker, wait=60.0)
    other.tell()
    assert other.line() == "published"
    assert ids(waiting.result()) == ["a"]


@pytest.mark.parametrize("how", ["hints_only", "no_hints"])
def test_a_result_of_another_process_wakes_a_waiting_wait(request, how, make, child, background, sent):
    request.getfixturevalue(how)
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
    assert list(waiting.result()) == ["b"]
    waiting = background(backend.wait, ["a"], timeout_seconds=60.0)
    other.tell()
    assert list(waiting.result()) == ["a"]


def test_what_nobody_hints_at_is_found_too(make, background, monkeypatch, ids, messages, receive):
    monkeypatch.setattr(Hint, "give", lambda self: None)  # as if killed right after the commit
    broker, other = make("broker"), make("broker")
    waiting = background(receive, broker, wait=60.0)
    assert not waiting.ended(0.3)
    other.publish(messages("a"))
    assert ids(waiting.result()) == ["a"]


@pytest.mark.skipif(hints.sys.platform != "linux", reason="hints are heard on Linux only")
def test_who_has_listened_leaves_an_empty_file_and_nothing_open(
    monkeypatch, tmp_path, make, background, receive, await_watchers
):
    monkeypatch.setattr(watcher, "_LINGER_SECONDS", 0.0)
    before = set(files._files)
    broker = make("broker")
    waiting = background(receive, broker, wait=60.0)
    while not files._files - before:
        assert not waiting.ended(0.01)
    broker.close()
    assert waiting.result() == []
    await_watchers()
    assert files._files <= before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work.db", "work.db-published"]
    assert (tmp_path / "work.db-published").read_bytes() == b""


def test_a_hint_is_for_those_who_listen_and_harmless_where_it_cannot_be(tmp_path):
    hint, none = Hint(tmp_path / "hint"), Hint(tmp_path / "nowhere" / "hint")
    for each in (hint, none):
        each.give()
    assert not (tmp_path / "hint").exists()
    assert none.listen() is None


@pytest.mark.skipif(hints.sys.platform != "linux", reason="hints are heard on Linux only")
def test_hints_are_heard_by_all_and_many_as_one(tmp_path):
    hint = Hint(tmp_path / "hint")
    listeners = [hint.listen(), hint.listen()]
    for _ in range(1000):
        hint.give()
    for listener in listeners:
        assert listener.wait(10)
        assert not listener.wait(0.0)
        listener.close()


FORK_WHILE_LISTENING = """
import threading, time
from pathlib import Path
from drivetrain.drivers.sqlite import files
def listening():
    return "anon_inode:inotify" in [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
threading.Thread(target=receive, args=(1, 60.0), daemon=True).start()
while not files._files:
    time.sleep(0.01)
if (fork := os.fork()) == 0:
    say("the fork listens:", listening())
    os._exit(0)
os.waitpid(fork, 0)
say("we listen:", listening())
"""


@pytest.mark.skipif(hints.sys.platform != "linux", reason="hints are heard on Linux only")
def test_a_fork_does_not_go_on_listening(child):
    other = child(FORK_WHILE_LISTENING)
    assert [other.line(), other.line()] == ["the fork listens: False", "we listen: True"]


def test_close_wakes_waiters_and_the_objects_can_be_used_again(make, background, clock, ids, messages, receive, sent):
    broker, backend = make("broker", clock=clock), make("backend", clock=clock)
    backend.record([sent("t")])
    calls = [background(receive, broker, wait=60.0), background(backend.wait, ["t"], timeout_seconds=60.0)]
    clock.await_waiters(2)
    broker.close()
    backend.close()
    assert [call.result() for call in calls] == [[], {}]
    broker.publish(messages("a"))
    assert ids(receive(broker)) == ["a"]


def test_a_turn_that_is_not_given_back_only_delays(make, tmp_path, ids, messages, receive):
    broker = make("broker")
    broker.ping()
    turn = Turn(tmp_path / "work.db-lock")
    assert turn.take(1.0)
    broker.publish(messages("a"))
    turn.leave()
    turn.close()
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["a", "b"]


def test_turns_are_taken_one_at_a_time(tmp_path, together):
    inside, most, numbers = [], [], count()

    def work():
        turn = Turn(tmp_path / "lock")
        for _ in range(50):
            assert turn.take(30.0)
            inside.append(next(numbers))
            most.append(len(inside))
            inside.pop()
            turn.leave()
        turn.close()

    together(*[work] * 4)
    assert max(most) == 1
    assert len(most) == 200


def test_a_wait_for_a_turn_that_was_given_up_is_taken_up_again_and_leaves_nothing_locked(tmp_path):
    holder, waiter, third = (Turn(tmp_path / "lock") for _ in range(3))
    assert holder.take(1.0)
    assert [waiter.take(0.01) for _ in range(3)] == [False] * 3
    threads = [thread for thread in threading.enumerate() if thread.name == "drivetrain-sqlite-turn"]
    assert len(threads) == 1
    holder.leave()
    threads[0].join(10)
    for turn in (third, waiter):
        assert turn.take(30.0)
        turn.leave()
    for turn in (holder, waiter, third):
        turn.close()


def test_a_turn_that_was_taken_is_not_taken_twice(tmp_path):
    one, other = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    assert one.take(0.0)
    assert one.take(0.0)
    one.leave()
    one.leave()
    assert other.take(0.0)
    for turn in (one, other):
        turn.close()


def test_a_fork_does_not_keep_a_turn(child, tmp_path):
    code = "if os.fork() == 0:\n    hear(); os._exit(0)\nsay('inside'); hear()"
    other = child("with broker._database.write():\n" + "\n".join(f"    {line}" for line in code.split("\n")))
    assert other.line() == "inside"
    other.kill()  # its fork lives on
    turn = Turn(tmp_path / "work.db-lock")
    assert turn.take(30.0)
    turn.leave()
    turn.close()
    other.tell()


def test_no_turn_is_needed_where_the_lock_cannot_be_made(tmp_path):
    turn = Turn(tmp_path / "nowhere" / "lock")
    assert not turn.take(1.0)
    turn.leave()
    turn.close()
    assert not (tmp_path / "nowhere").exists()
