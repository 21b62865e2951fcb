"""Several processes on one file of ``sqlite://``, some of which are killed."""

import os
import signal
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent

import pytest

from drivetrain.contract import ServiceUnavailable


def test_eight_processes_open_a_new_file_at_once(make, child, ids, receive):
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


def test_processes_that_receive_from_one_file_never_hold_one_message_twice(make, child, assert_sound):
    receivers = [child(RECEIVER.replace("receive(23)", "receive(23, wait=2.0)")) for _ in range(3)]
    publishers = [
        child(f"for start in range({first}, {first} + 2000, 50): publish(range(start, start + 50))")
        for first in (0, 2000)
    ]
    received = [id_ for each in receivers for line in each.lines() for id_ in line.split()]
    assert all(each.process.wait(30) == 0 for each in (*receivers, *publishers))
    assert sorted(map(int, received)) == list(range(4000))
    assert make("broker").sizes(["q"])["q"].in_flight == 0
    assert_sound()


def test_kill_9_of_receivers_loses_nothing(make, child, assert_sound, ids, messages, receive):
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
    assert_sound()


def test_kill_9_of_publishers_loses_nothing_that_was_acknowledged(make, child, assert_sound, ids, receive):
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
    assert_sound()


def test_kill_9_while_recording_leaves_whole_batches(make, child, assert_sound):
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
    tasks = make("backend").counts()["tasks"]
    assert tasks in ((last + 1) * 20, (last + 2) * 20)
    assert_sound()


def test_of_several_processes_one_writes_where_nothing_is_stored(child, make):
    code = """
    from drivetrain.contract import ValueWrite
    say('ready'); hear()
    say(backend.write_values([ValueWrite(key='k', value=b'v', if_version=0)])[0].written)
    """
    children = [child(dedent(code)) for _ in range(4)]
    assert [each.line() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    assert sorted(each.line() for each in children) == ["False"] * 3 + ["True"]
    assert make("backend").counts()["values"] == 1


WRITE_SLOWLY = """
say('ready'); hear()
with broker._database.write() as session:
    session.execute("INSERT INTO @bodies VALUES ('half', x'00')")
    say('inside'); hear()
say('out')
"""


@pytest.fixture
def stopped(child):
    """A process that stands still in the middle of a transaction, as after SIGSTOP."""
    process = child(WRITE_SLOWLY)
    assert process.line() == "ready"
    process.tell()
    assert process.line() == "inside"
    os.kill(process.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.process.pid, os.WSTOPPED | os.WNOWAIT)
    return process


def test_while_a_writer_is_stopped_others_read_and_their_writes_are_refused(make, stopped, messages, receive):
    broker, backend = make("broker", "?busy_timeout_seconds=0.05"), make("backend", "?busy_timeout_seconds=0.05")
    with pytest.raises(ServiceUnavailable, match="nothing could be written for 0.05 seconds") as told:
        broker.publish(messages("a"))
    assert isinstance(told.value.__cause__, sqlite3.OperationalError)
    if sys.platform == "linux":
        assert f"process {stopped.process.pid}, which is stopped" in str(told.value)
    assert receive(broker) == []
    assert backend.load_bodies(["half"]) == [None]


def test_nothing_is_broken_when_a_stopped_writer_goes_on(make, stopped, messages, receive, ids, assert_sound):
    broker, backend = make("broker", "?busy_timeout_seconds=0.05"), make("backend")
    with pytest.raises(ServiceUnavailable):
        broker.publish(messages("a"))
    os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.tell()
    assert stopped.line() == "out"
    broker.publish(messages("b"))
    assert ids(receive(broker)) == ["b"]
    assert backend.load_bodies(["half"]) == [b"\0"]
    assert_sound()


def test_a_stopped_writer_that_is_killed_leaves_nothing_locked(make, stopped, messages, receive, ids, assert_sound):
    broker, backend = make("broker"), make("backend")
    stopped.kill()
    broker.publish(messages("a"))
    assert ids(receive(broker)) == ["a"]
    assert backend.load_bodies(["half"]) == [None]
    assert_sound()


def test_a_process_stopped_outside_its_transaction_blocks_no_other_process(make, child, messages):
    """Its turn is one to queue for. It holds none of SQLite's own locks."""
    process = child("assert broker._database._write_lock.acquire(10.0); say('its turn'); hear()")
    assert process.line() == "its turn"
    os.kill(process.process.pid, signal.SIGSTOP)
    make("broker", "?busy_timeout_seconds=80000").publish(messages("a"))


def test_a_thread_that_waits_for_another_thread_of_its_process_waits_as_long_and_no_longer(make, messages):
    broker = make("broker", "?busy_timeout_seconds=0.05")
    with broker._database.write(), ThreadPoolExecutor(1) as other:
        publishing = other.submit(broker.publish, messages("a"))
        with pytest.raises(ServiceUnavailable, match=r"nothing could be written for 0\.05 seconds"):
            publishing.result(timeout=30)
