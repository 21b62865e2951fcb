"""Several processes on one file of ``sqlite://``, some of which are killed."""

import os
import signal

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
    assert make("broker").sizes(["q"])["q"].held == 0
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
    tasks = make("backend").census()["tasks"]
    assert tasks in ((last + 1) * 20, (last + 2) * 20)
    assert_sound()


def test_a_lock_has_one_holder_among_processes(child, make):
    code = "say('ready'); hear(); say(backend.acquire_lock('l', seconds=60))"
    children = [child(code) for _ in range(4)]
    assert [each.line() for each in children] == ["ready"] * 4
    for each in children:
        each.tell()
    tokens = [each.line() for each in children]
    assert sorted(tokens)[1:] == ["None"] * 3
    assert make("backend").acquire_lock("l", seconds=60) is None


def test_a_stopped_writer_does_not_block_others_for_ever(child, make, tmp_path, ids, messages, receive):
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
