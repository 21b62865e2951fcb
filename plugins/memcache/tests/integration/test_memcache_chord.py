"""Chords on Memcached: ten thousand members ended by several processes, and one that Memcached has lost."""

from collections import Counter

import pytest

from drivetrain import App, TaskFailed, UnknownResult, chord, current_task, group
from drivetrain.contract import Completion, Group, Member
from drivetrain.workflow.frames import Join
from drivetrain.workflow.wire import load_frames
from drivetrain_contract_tests.backends.concurrency import in_processes
from drivetrain_memcache.keys import Kind
from support.completing import MEMBERS, complete_all
from support.waiting import Log, until


def test_ten_thousand_members_are_ended_by_several_processes(memcached, backends):
    """Each process completes all members. Each is raised at the end, and no earlier, that the group is complete."""
    url = f"{memcached.url}/?namespace=many"
    backend = backends(url)
    backend.open_groups([Group(group_id="g", size=MEMBERS)])
    assert in_processes(url, complete_all, 3) == [MEMBERS] * 3
    assert backend.read_members("g") == [b"%d" % index for index in range(MEMBERS)]


@pytest.mark.slow
def test_a_chord_of_ten_thousand_members_fires_once(memcached, tmp_path):
    app = App(f"sqlite:///{tmp_path}/work.db", backend=f"{memcached.url}/?namespace=chord")
    ran, called = Log(), Log()

    @app.task(name="member")
    def member(number: int) -> int:
        ran.note(number)
        return number

    @app.task(name="callback")
    def callback(numbers: list[int]) -> list[int]:
        called.note((current_task().task_id, len(numbers)))
        return numbers

    with app, app.worker(), app.worker():
        handle = chord([member.s(number) for number in range(MEMBERS)], callback.s()).send()
        assert handle.get(timeout=90) == list(range(MEMBERS))
    assert len(called.notes) == 1
    assert Counter(ran.notes) == Counter(range(MEMBERS))


def test_a_caller_that_waits_for_a_lost_group_gets_an_error(servers, tmp_path):
    small = servers("-m", "2")
    app = App(f"sqlite:///{tmp_path}/work.db", backend=small.url)

    @app.task(name="member")
    def member(number: int) -> int:
        return number

    with app:
        handle = group([member.s(number) for number in range(3)]).send()
        small.fill()
        with app.worker():
            with pytest.raises(UnknownResult):
                handle.get(timeout=60)


@pytest.mark.parametrize("lost", [Kind.SHARD, Kind.MEMBER])
def test_a_chord_with_a_lost_part_fails_with_everything_that_waits_for_it(memcached, tmp_path, lost):
    """A group in a group, with a callback: every waiting caller gets an error."""
    app = App(f"sqlite:///{tmp_path}/work.db", backend=f"{memcached.url}/?namespace=chord-without-{lost}")
    went_on = Log()

    @app.task(name="member")
    def member(number: int) -> int:
        return number

    @app.task(name="dropping")
    def dropping(number: int) -> int:
        join = next(frame for frame in current_frames(app, current_task().task_id) if isinstance(frame, Join))
        backend = app.runtime.backend
        if lost is Kind.MEMBER:
            backend.complete([Completion(member=Member(join.group_id, 0), payload=app.runtime.payloads.dump(0))])
        tag = backend._entries.read([join.group_id])[join.group_id].group.tag
        client = memcached.client()
        assert client.delete(backend._keys.numbered(lost, join.group_id, tag, 0).name)
        client.close()
        return number

    @app.task(name="after")
    def after(numbers: list[object]) -> int:
        went_on.note(numbers)
        return 1

    inner = group([member.s(0).set(delay=3_600), dropping.s(1)])
    with app, app.worker():
        handle = chord([inner, member.s(2)], after.s()).send()
        with pytest.raises(TaskFailed) as raised:
            handle.get(timeout=60)
    assert raised.value.failure.type == "drivetrain.ResultLost"
    assert went_on.notes == []


def test_a_failure_is_not_taken_for_a_result_when_the_bits_are_lost(memcached, tmp_path):
    """The payloads of all members are there, and one of them is a failure: the callback must not be given that."""
    app = App(f"sqlite:///{tmp_path}/work.db", backend=f"{memcached.url}/?namespace=chord-with-a-failure")
    went_on = Log()

    @app.task(name="member")
    def member(number: int) -> int:
        return number

    @app.task(name="failing")
    def failing() -> int:
        (join,) = current_frames(app, current_task().task_id)
        backend = app.runtime.backend
        until(lambda: backend.read_groups([join.group_id])[0].done == 1, "the other member has ended")
        tag = backend._entries.read([join.group_id])[join.group_id].group.tag
        client = memcached.client()
        assert client.delete(backend._keys.numbered(Kind.SHARD, join.group_id, tag, 0).name)
        client.close()
        raise ArithmeticError("as planned")

    @app.task(name="after")
    def after(numbers: list[object]) -> int:
        went_on.note(numbers)
        return 1

    with app, app.worker():
        handle = chord([member.s(0), failing.s()], after.s()).send()
        with pytest.raises(TaskFailed, match="as planned"):
            handle.get(timeout=60)
    assert went_on.notes == []


def current_frames(app, task_id):
    """What waits for a task, as its record says."""
    (record,) = app.runtime.backend.read([task_id])
    return load_frames(app.runtime.payloads.load(record.downstream))
