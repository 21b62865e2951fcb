"""Child processes get short tasks in batches: what ends one of them ends no other, and none waits behind a long one."""

import logging
import threading
from collections import Counter

import pytest

from drivetrain import ConfigurationError, State, TaskCancelled
from drivetrain.worker.pools.channel import BATCHES
from drivetrain.worker.pools.slot import Slot
from drivetrain.worker.registry import Pool
from support.faults import hoard, hurry
from support.waiting import happened, until

pytestmark = pytest.mark.skipif(not BATCHES, reason="no batches here")

#: How many tasks are before and behind the special one.
AROUND = 8


@pytest.fixture
def batches(monkeypatch):
    """The sizes of the batches that children get."""
    sizes, execute_all = [], Slot.execute_all

    def note_size(slot, batch, *args, **options):
        sizes.append(len(batch))
        return execute_all(slot, batch, *args, **options)

    monkeypatch.setattr(Slot, "execute_all", note_size)
    return sizes


@pytest.fixture
def worker_of(children):
    """Makes workers that hand all that they have to their children at once."""
    hurry(children.app)

    def make(**options):
        worker = children.app.worker(**{"concurrency": 1, "grace_seconds": 60, **options})
        hoard(worker, 100)
        worker._pools.get(Pool.PROCESSES)._run_seconds = 1e-6
        return worker

    return make


def notes(path):
    return [line.split() for line in path.read_text().splitlines()]


def runs(path):
    return Counter(name for name, _ in notes(path))


def send_around(children, path, special):
    """Send short tasks with ``special`` among them, in one batch of messages; the handles of all, and of that one."""
    signatures = [children.note.s(str(path), f"n{number}") for number in range(2 * AROUND)]
    handles = children.app.send_many([*signatures[:AROUND], special, *signatures[AROUND:]])
    return [*handles[:AROUND], *handles[AROUND + 1 :]], handles[AROUND]


def assert_others_unharmed(path, others):
    assert [handle.get(timeout=60) for handle in others] == [f"n{number}" for number in range(2 * AROUND)]
    assert {name: runs(path)[name] for name in (f"n{n}" for n in range(2 * AROUND))} == {
        f"n{n}": 1 for n in range(2 * AROUND)
    }
    for handle in others:
        record = handle.record()
        assert (record.attempt, record.starts) == (0, 1)


def test_a_death_in_the_middle_of_a_batch_ends_one_task_alone(children, worker_of, batches, tmp_path):
    tasks = [children.leave, children.be_killed, children.break_files]
    paths = [tmp_path / str(number) for number in range(len(tasks))]
    sent = [send_around(children, path, task.s(str(path), "special")) for path, task in zip(paths, tasks, strict=True)]
    with worker_of():
        for path, (others, special) in zip(paths, sent, strict=True):
            assert special.get(timeout=60) == "special"
            assert_others_unharmed(path, others)
            assert runs(path)["special"] == 2
            assert special.record().starts == 2
    assert max(batches) > AROUND


def test_a_time_limit_in_the_middle_of_a_batch_ends_one_task_alone(children, worker_of, batches, tmp_path):
    path, forking = tmp_path / "runs", tmp_path / "forking"
    others, special = send_around(children, path, children.hang_once.s(str(path), "special"))
    more, forked = send_around(children, forking, children.fork_and_return.s(str(forking), "special"))
    with worker_of():
        assert special.get(timeout=60) == "special"
        assert_others_unharmed(path, others)
        assert forked.get(timeout=60) == "special"
        assert_others_unharmed(forking, more)
    assert special.record().attempt == 1
    assert max(batches) > AROUND


def test_cancelling_in_the_middle_of_a_batch_ends_one_task_alone(children, worker_of, tmp_path):
    path = tmp_path / "runs"
    others, special = send_around(children, path, children.wait_for.s(str(path), str(tmp_path / "gate")))
    with worker_of(lease_seconds=1.0):
        until(lambda: path.exists() and runs(path)["wait"], "it runs")
        special.cancel()
        with pytest.raises(TaskCancelled):
            special.get(timeout=60)
        assert_others_unharmed(path, others)


def test_what_a_task_changes_in_its_context_is_gone_in_the_next_one_of_its_batch(children, worker_of, batches):
    third = "0.3333333333333333333333333333"
    handles = children.app.send_many([one for _ in range(5) for one in (children.spoil.s(), children.look.s())])
    with worker_of():
        assert [handle.get(timeout=60) for handle in handles[1::2]] == [["nobody", third]] * 5
    assert max(batches) > 1


def test_a_long_task_holds_no_short_ones_behind_it_while_another_child_is_idle(children, worker_of, tmp_path):
    path, gate = tmp_path / "runs", tmp_path / "gate"
    with worker_of(concurrency=2):
        others, special = send_around(children, path, children.wait_for.s(str(path), str(gate)))
        assert_others_unharmed(path, others)
        assert special.state() is State.STARTED
        gate.touch()
        assert special.get(timeout=60) == "waited"


def test_what_waits_behind_a_long_task_is_released_when_the_worker_stops(children, worker_of, tmp_path):
    path, gate = tmp_path / "runs", tmp_path / "gate"
    long = children.wait_for.s(str(path), str(gate))
    handles = children.app.send_many([long, *(children.note.s(str(path), f"n{n}") for n in range(4))])
    worker = worker_of()
    with worker:
        until(lambda: path.exists() and runs(path)["wait"], "it runs")
        until(lambda: worker._flow_control.waits(Pool.PROCESSES), "the others wait")
        worker.stop(wait=False)
        until(lambda: all(handle.state() is State.RECEIVED for handle in handles[1:]), "the others are released")
        gate.touch()
    assert handles[0].get(timeout=60) == "waited"
    assert runs(path) == {"wait": 1}
    with worker_of():
        assert [handle.get(timeout=60) for handle in handles[1:]] == [f"n{n}" for n in range(4)]
    assert handles[1].record().starts == 1


def test_what_a_child_gives_back_after_the_stop_is_released_too(children, worker_of, tmp_path, monkeypatch):
    path, gate, released = tmp_path / "runs", tmp_path / "gate", threading.Event()
    long = children.wait_for.s(str(path), str(gate))
    handles = children.app.send_many([long, *(children.note.s(str(path), f"n{n}") for n in range(4))])
    worker = worker_of()
    release_waiting, recall = worker._receive_loop.release_waiting, Slot._recall

    def note_release():
        release_waiting()
        released.set()

    def recall_late(*args):
        happened(released, "the worker has released what waited")
        recall(*args)

    monkeypatch.setattr(worker._receive_loop, "release_waiting", note_release)
    monkeypatch.setattr(Slot, "_recall", recall_late)
    with worker:
        until(lambda: path.exists() and runs(path)["wait"], "it runs")
        worker.stop(wait=False)
        until(lambda: all(handle.state() is State.RECEIVED for handle in handles[1:]), "the others are released")
        gate.touch()
    assert handles[0].get(timeout=60) == "waited"
    assert runs(path) == {"wait": 1}


# Replacing children


def test_a_child_is_replaced_after_so_many_tasks_and_never_in_one(children, worker_of, tmp_path, caplog):
    path = tmp_path / "runs"
    caplog.set_level(logging.INFO, "drivetrain.worker")
    handles = children.app.send_many([children.note.s(str(path), f"n{number}") for number in range(6)])
    worker = worker_of(max_tasks_per_child=3)
    with worker:
        assert [handle.get(timeout=60) for handle in handles] == [f"n{number}" for number in range(6)]
        until(lambda: worker._stages.status_reporter.status().replaced_children == 2, "the status says so")
    pids = [pid for _, pid in notes(path)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3]
    assert "it has run 3 tasks, as max_tasks_per_child says" in caplog.text


def test_a_child_that_uses_too_much_memory_is_replaced_after_its_task(children, worker_of, caplog):
    caplog.set_level(logging.INFO, "drivetrain.worker")
    handles = children.app.send_many([children.pid.s() for _ in range(2)])
    with worker_of(max_memory_per_child=1):
        assert len({handle.get(timeout=60) for handle in handles}) == 2
    assert "and max_memory_per_child is 1 MB" in caplog.text


@pytest.mark.parametrize("option", ["max_tasks_per_child", "max_memory_per_child"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_of_children_are_1_or_more(memory_app, option, value):
    with pytest.raises(ConfigurationError, match=option):
        memory_app.worker(**{option: value})
