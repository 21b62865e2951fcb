"""How ``sqlite://`` notices changes, and how its writers take turns."""

import sqlite3
import threading
import time
from itertools import count

import pytest

from drivetrain.contract import ServiceUnavailable, SystemClock
from drivetrain.drivers.sqlite import connection, file_notify, fork_safety, waiting
from drivetrain.drivers.sqlite.file_notify import FileNotifier
from drivetrain.drivers.sqlite.waiting import Watcher
from drivetrain.drivers.sqlite.write_lock import WriteLock


@pytest.fixture
def statements(monkeypatch):
    """Every statement that is run on a connection that is opened from now on."""
    seen = []
    connect = sqlite3.connect

    def traced(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(connection.sqlite3, "connect", traced)
    return seen


@pytest.fixture
def no_notifications(monkeypatch):
    """As on a system without inotify, or when its descriptors are used up."""

    def refuse(path):
        raise OSError(f"not {path}")

    monkeypatch.setattr(file_notify, "_watch", refuse)


@pytest.fixture
def notifications_only(monkeypatch):
    """Polling finds nothing in time."""
    if file_notify.sys.platform != "linux":
        pytest.skip("notifications need Linux")
    monkeypatch.setattr(waiting, "_BUSY_SECONDS", 20.0)
    monkeypatch.setattr(waiting, "_NOTIFIED_IDLE_SECONDS", 20.0)


def test_an_idle_receive_and_an_idle_wait_only_read_the_version(
    no_notifications, make, statements, messages, receive, sent
):
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


def test_with_notifications_the_file_is_hardly_polled(notifications_only, make, statements, receive, sent):
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
                thread.join(60)

    return wait


@pytest.fixture
def notifier(tmp_path):
    return FileNotifier(tmp_path / "notifier")


def test_the_thread_polls_only_while_a_call_waits_and_then_ends(monkeypatch, notifier, await_watchers):
    monkeypatch.setattr(waiting, "_LINGER_SECONDS", 0.0)
    file = FakeFile()
    watching = Watcher(file, SystemClock(), notifier)
    watching.wait(watching.mark(), 0.05)
    await_watchers()
    assert watching._thread is None
    looks = file.looks
    assert looks > 1
    watching.wait(watching.mark(), 0.05)
    assert file.looks > looks


def test_an_error_while_polling_wakes_the_waiting_calls(background, notifier):
    file = FakeFile()
    watching = Watcher(file, SystemClock(), notifier)
    mark = watching.mark()
    file.error = ServiceUnavailable("gone")
    waiter = background(watching.wait, mark, 30.0)
    assert waiter.result() is None


@pytest.mark.parametrize("how", ["notifications_only", "no_notifications"])
def test_a_publish_of_another_process_wakes_a_waiting_receive(request, how, make, child, background, ids, receive):
    request.getfixturevalue(how)
    broker = make("broker")
    broker.ping()
    other = child("say('ready'); hear(); publish(['a']); say('published')")
    assert other.line() == "ready"
    waiter = background(receive, broker, wait=60.0)
    other.tell()
    assert other.line() == "published"
    assert ids(waiter.result()) == ["a"]


@pytest.mark.parametrize("how", ["notifications_only", "no_notifications"])
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
    waiter = background(backend.wait, ["a", "b"], timeout_seconds=60.0)
    other.tell()
    assert list(waiter.result()) == ["b"]
    waiter = background(backend.wait, ["a"], timeout_seconds=60.0)
    other.tell()
    assert list(waiter.result()) == ["a"]


@pytest.mark.parametrize("how", ["notifications_only", "no_notifications"])
def test_a_write_of_another_process_wakes_a_wait_for_values(request, how, monkeypatch, make, child, background):
    request.getfixturevalue(how)
    if how == "notifications_only":
        monkeypatch.setattr("drivetrain.drivers.sqlite.backend._VALUE_IDLE_SECONDS", (20.0, 20.0))
    backend = make("backend")
    backend.ping()
    other = child(
        "from drivetrain.contract import ValueWrite\n"
        "say('ready'); hear(); backend.write_values([ValueWrite(key='k', value=b'v')])\n"
        "hear(); backend.write_values([ValueWrite(key='k', value=None)]); say('done')"
    )
    assert other.line() == "ready"
    waiter = background(backend.wait_values, {"k": 0}, prefix="p/", timeout_seconds=60.0)
    other.tell()
    assert waiter.result() == ["k"]
    (found,) = backend.read_values(["k"])
    waiter = background(backend.wait_values, {"k": found.version}, timeout_seconds=60.0)
    other.tell()
    assert waiter.result() == ["k"]


def test_the_end_of_a_task_wakes_no_wait_for_values(make, background, statements, sent):
    """A busy queue commits thousands of times in a second."""
    backend, other = make("backend"), make("backend")
    waiter = background(backend.wait_values, {"k": 0}, timeout_seconds=60.0)
    assert not waiter.ended(0.2)
    statements.clear()
    for number in range(20):
        other.record([sent(f"t{number}")])
        other.forget([f"t{number}"])
    assert len([each for each in statements if "WHERE (ends IS NULL" in each]) <= 1
    backend.close()
    assert waiter.result() == []


def test_a_change_without_a_notification_is_found_too(make, background, monkeypatch, ids, messages, receive):
    monkeypatch.setattr(FileNotifier, "notify", lambda self: None)  # as if killed right after the commit
    broker, other = make("broker"), make("broker")
    waiter = background(receive, broker, wait=60.0)
    assert not waiter.ended(0.3)
    other.publish(messages("a"))
    assert ids(waiter.result()) == ["a"]


@pytest.mark.skipif(file_notify.sys.platform != "linux", reason="notifications need Linux")
def test_who_has_listened_leaves_an_empty_file_and_nothing_open(
    monkeypatch, tmp_path, make, background, receive, await_watchers
):
    monkeypatch.setattr(waiting, "_LINGER_SECONDS", 0.0)
    before = set(fork_safety._files)
    broker = make("broker")
    waiter = background(receive, broker, wait=60.0)
    while not fork_safety._files - before:
        assert not waiter.ended(0.01)
    broker.close()
    assert waiter.result() == []
    await_watchers()
    assert fork_safety._files <= before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work.db", "work.db-published"]
    assert (tmp_path / "work.db-published").read_bytes() == b""


def test_a_notifier_wakes_listeners_and_raises_nothing_where_it_is_not_supported(tmp_path):
    notifier, none = FileNotifier(tmp_path / "notifier"), FileNotifier(tmp_path / "nowhere" / "notifier")
    for each in (notifier, none):
        each.notify()
    assert not (tmp_path / "notifier").exists()
    assert none.listen() is None


@pytest.mark.skipif(file_notify.sys.platform != "linux", reason="notifications need Linux")
def test_a_notification_reaches_all_listeners_and_many_count_as_one(tmp_path):
    notifier = FileNotifier(tmp_path / "notifier")
    listeners = [notifier.listen(), notifier.listen()]
    for _ in range(1000):
        notifier.notify()
    for listener in listeners:
        assert listener.wait(60)
        assert not listener.wait(0.0)
        listener.close()


FORK_WHILE_LISTENING = """
import threading
from pathlib import Path
from drivetrain.drivers.sqlite import fork_safety
listens, open_file = threading.Event(), fork_safety.open_file
def note_listening(opener):
    file = open_file(opener)
    if opener.__name__ == "open_inotify":
        listens.set()
    return file
fork_safety.open_file = note_listening
def listening():
    return "anon_inode:inotify" in [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
threading.Thread(target=receive, args=(1, 60.0), daemon=True).start()
assert listens.wait(60)
if (fork := os.fork()) == 0:
    say("the fork listens:", listening())
    os._exit(0)
os.waitpid(fork, 0)
say("we listen:", listening())
"""


@pytest.mark.skipif(file_notify.sys.platform != "linux", reason="notifications need Linux")
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


def test_a_write_lock_that_is_not_released_only_delays(make, tmp_path, ids, messages, receive):
    broker = make("broker")
    broker.ping()
    turn = WriteLock(tmp_path / "work.db-lock")
    assert turn.acquire(1.0)
    broker.publish(messages("a"))
    turn.release()
    turn.close()
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["a", "b"]


def test_turns_are_taken_one_at_a_time(tmp_path, together):
    inside, most, numbers = [], [], count()

    def work():
        turn = WriteLock(tmp_path / "lock")
        for _ in range(50):
            assert turn.acquire(30.0)
            inside.append(next(numbers))
            most.append(len(inside))
            inside.pop()
            turn.release()
        turn.close()

    together(*[work] * 4)
    assert max(most) == 1
    assert len(most) == 200


def test_a_wait_for_a_turn_that_was_given_up_is_taken_up_again_and_leaves_nothing_locked(tmp_path):
    holder, waiter, third = (WriteLock(tmp_path / "lock") for _ in range(3))
    assert holder.acquire(1.0)
    assert [waiter.acquire(0.01) for _ in range(3)] == [False] * 3
    threads = [thread for thread in threading.enumerate() if thread.name == "drivetrain-sqlite-write-lock"]
    assert len(threads) == 1
    holder.release()
    threads[0].join(60)
    for turn in (third, waiter):
        assert turn.acquire(30.0)
        turn.release()
    for turn in (holder, waiter, third):
        turn.close()


def test_a_turn_that_was_taken_is_not_taken_twice(tmp_path):
    one, other = WriteLock(tmp_path / "lock"), WriteLock(tmp_path / "lock")
    assert one.acquire(0.0)
    assert one.acquire(0.0)
    one.release()
    one.release()
    assert other.acquire(0.0)
    for turn in (one, other):
        turn.close()


def test_a_fork_does_not_keep_a_turn(child, tmp_path):
    code = "if os.fork() == 0:\n    hear(); os._exit(0)\nsay('inside'); hear()"
    other = child("with broker._database.write():\n" + "\n".join(f"    {line}" for line in code.split("\n")))
    assert other.line() == "inside"
    other.kill()  # its fork lives on
    turn = WriteLock(tmp_path / "work.db-lock")
    assert turn.acquire(30.0)
    turn.release()
    turn.close()
    other.tell()


def test_no_turn_is_needed_where_the_lock_cannot_be_made(tmp_path):
    turn = WriteLock(tmp_path / "nowhere" / "lock")
    assert not turn.acquire(1.0)
    turn.release()
    turn.close()
    assert not (tmp_path / "nowhere").exists()
