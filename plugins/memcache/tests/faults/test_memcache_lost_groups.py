"""Memcached drops a group within a group, its record included: waiting callers get an error."""

import threading

import pytest

from drivetrain import App, ResultLost, TaskFailed, UnknownResult, chain, chord, current_task, group
from drivetrain.contract import Failure, GroupProgress, State, evolve
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.retrying import Retrier
from drivetrain.workflow.advance import Complete, Open
from drivetrain.workflow.frames import Call, Join
from drivetrain.workflow.wire import load_frames
from drivetrain_memcache.keys import Kind
from support.waiting import Log, happened, until


class Lossy:
    """An app on Memcached of which a group can be dropped, as Memcached does when it has no room."""

    def __init__(self, server, tmp_path, prefix):
        self._server = server
        self.app = App(f"sqlite:///{tmp_path}/work.db", backend=f"{server.url}/?namespace={prefix}")
        self.ran = Log()
        self.reached, self.goes_on = threading.Event(), threading.Event()
        for task in (self.value, self.dropping, self.total, self.waiting):
            self.app.task(name=task.__name__)(task)

    def value(self, x: object) -> object:
        self.ran.note(("value", x))
        return x

    def total(self, xs: object, name: str) -> str:
        self.ran.note((name, xs))
        return name

    def waiting(self, xs: object) -> object:
        self.reached.set()
        happened(self.goes_on, "the test lets it go on")
        return xs

    def dropping(self, x: object, around: int) -> object:
        """Ends after its own group was dropped, and so many of the groups around that."""
        join, backend = self._join(), self.app.runtime.backend
        until(lambda: backend.read_groups([join.group_id])[0].done, "the first member's end is known")
        for _ in range(around + 1):
            self.drop(join.group_id)
            join = join.outer
        return x

    def _join(self):
        (record,) = self.app.runtime.backend.read([current_task().task_id])
        (join,) = load_frames(self.app.runtime.payloads.load(record.downstream))
        assert isinstance(join, Join)
        return join

    def perform(self, *effects, known=None):
        """As a worker does."""
        runtime = self.app.runtime
        retrier = Retrier(runtime.clock, limit_seconds=60)
        EffectRunner(runtime, Publisher(runtime, retrier, worker=True), retrier, worker="w").perform(effects, known)

    def drop(self, group_id):
        """Drop every item of a group: its record, which is its header too, its bits and its payloads."""
        backend = self.app.runtime.backend
        header = backend._entries.read([group_id])[group_id].group
        keys = [backend._keys.named(Kind.ENTRY, group_id), *backend._entries.shard_keys(group_id, header)]
        keys += [key for some in backend._entries.member_keys(group_id, header) for key in some]
        client = self._server.client()
        gone = [client.delete(key.name) for key in keys]
        client.close()
        assert gone[0], "there was no such group"
        assert backend.read([group_id]) == [None]
        assert backend.read_groups([group_id]) == [None]

    def drop_record(self, task_id):
        client = self._server.client()
        assert client.delete(self.app.runtime.backend._keys.named(Kind.ENTRY, task_id).name)
        client.close()

    def drop_bits(self, group_id):
        backend = self.app.runtime.backend
        header = backend._entries.read([group_id])[group_id].group
        client = self._server.client()
        assert all(client.delete(key.name) for key in backend._entries.shard_keys(group_id, header))
        client.close()

    def signature(self, task, *args):
        return evolve(self.app.signature(task.__name__, *args), immutable=task not in {self.total, self.waiting})

    def inner(self, around=0):
        """A group of which the second member drops it, after the first has ended. The third ends later, in vain."""
        return group(
            self.signature(self.value, "first"),
            self.signature(self.dropping, "second", around),
            self.signature(self.value, "third"),
        )


@pytest.fixture
def lossy(memcached, tmp_path, request, monkeypatch):
    # A waiting caller checks for losses only some time after the task was sent.
    monkeypatch.setattr("drivetrain.app.lost_results._SENT_SECONDS", 0.0)
    made = Lossy(memcached, tmp_path, f"lost-{abs(hash(request.node.name))}")
    with made.app:
        yield made


def check_lost(handle):
    with pytest.raises(TaskFailed) as raised:
        handle.get(timeout=60)
    assert raised.value.failure.type == "drivetrain.ResultLost"
    assert "lost the group" in raised.value.failure.message


def shapes():
    def callback(lossy, name):
        return lossy.signature(lossy.total, name)

    def value(lossy):
        return lossy.signature(lossy.value, "other")

    return {
        "a chord in a group": lambda one: group(chord(one.inner(), callback(one, "inner")), value(one)),
        "a chord in a chord": lambda one: chord(
            [chord(one.inner(), callback(one, "inner")), value(one)], callback(one, "outer")
        ),
        "a group in a chord": lambda one: chord([one.inner(), value(one)], callback(one, "outer")),
        "two levels in": lambda one: chord(
            [group(chord(one.inner(), callback(one, "inner")), value(one)), value(one)], callback(one, "outer")
        ),
        "two levels in, and both are lost": lambda one: chord(
            [group(chord(one.inner(1), callback(one, "inner")), value(one)), value(one)], callback(one, "outer")
        ),
        "behind a task": lambda one: chain(
            value(one),
            chord(
                [chord(one.inner(), callback(one, "inner")), value(one)],
                callback(one, "outer"),
            ),
        ),
    }


@pytest.mark.parametrize("shape", shapes())
def test_a_lost_group_within_a_group_ends_the_groups_around_it(lossy, shape):
    handle = lossy.app.send(shapes()[shape](lossy))
    with lossy.app.worker(concurrency=1):
        check_lost(handle)
    assert not [note for note in lossy.ran.notes if note[0] in {"inner", "outer"}], "something went on"


def test_a_group_around_it_that_collects_failures_goes_on_with_that_one(lossy):
    inner = chord(lossy.inner(), lossy.signature(lossy.total, "inner"))
    around = group(inner, lossy.signature(lossy.value, "other")).set(on_member_failure="collect")
    handle = lossy.app.send(chord(around, lossy.signature(lossy.total, "outer")))
    with lossy.app.worker(concurrency=1):
        assert handle.get(timeout=60) == "outer"
    ((failure, other),) = [xs for name, xs in lossy.ran.notes if name == "outer"]
    assert (failure.type, other) == ("drivetrain.ResultLost", "other")


def between(lossy, *, behind):
    """A workflow of which an inner group will be lost, and all that waits for it, from the inside to the outside."""
    names = ("next", "after that", "outer", "last")
    one, two, outer, last = (lossy.signature(lossy.total, name).set(task_id=f"{name} {behind}") for name in names)
    member = lossy.inner() | one | two
    if behind == "in its branch":
        member = lossy.signature(lossy.value, "before") | member
    workflow = chord([member, lossy.signature(lossy.value, "other")], outer) | last
    if behind == "in front of all":
        workflow = lossy.signature(lossy.value, "before") | workflow
    return workflow, [f"{name} {behind}" for name in names]


@pytest.mark.parametrize("behind", ["nothing", "in its branch", "in front of all"])
def test_a_caller_that_waits_for_a_task_behind_a_lost_group_gets_an_error(lossy, behind):
    """Also what is between it and the group around it, whatever the workflow has begun with."""
    workflow, names = between(lossy, behind=behind)
    lossy.app.send(workflow)
    with lossy.app.worker(concurrency=1):
        for name in names:
            with pytest.raises((ResultLost, TaskFailed)) as raised:
                lossy.app.result(name).get(timeout=60)
            assert isinstance(raised.value, ResultLost) or raised.value.failure.type == "drivetrain.ResultLost", name


def test_a_caller_that_waits_for_a_group_behind_a_task_gets_an_error_when_it_is_lost(lossy):
    """That task has ended and is known, and so is what follows; only what is between them is gone."""
    after = lossy.signature(lossy.total, "after")
    handle = lossy.app.send(chain(lossy.signature(lossy.value, "before"), lossy.inner(), after, after))
    with lossy.app.worker(concurrency=1):
        with pytest.raises(ResultLost):
            handle.get(timeout=60)
    assert "after" not in dict(lossy.ran.notes)


def test_a_late_member_of_a_group_that_had_ended_and_is_not_kept_fails_nothing(lossy):
    """Its result was forgotten, and then its message came again; what comes after the group has begun long ago."""
    app, broker = lossy.app, lossy.app.runtime.broker
    inner = group(lossy.signature(lossy.value, "late").set(task_id="late"), lossy.signature(lossy.value, "b"))
    member = chord(inner.set(group_id="ended"), lossy.signature(lossy.waiting))
    handle = app.send(group(member, lossy.signature(lossy.value, "other")))
    received = broker.receive(["default"], limit=9, wait_seconds=5, hold_seconds=60)
    (late,) = [delivery.message for delivery in received if delivery.message.id == "late"]
    broker.release(received)
    with app.worker():
        happened(lossy.reached, "what follows the inner group has begun")
        until(lambda: app.result("ended").state() is State.SUCCESS, "the inner group has ended")
        app.runtime.backend.forget(["late", "ended"])
        broker.publish([late])
        until(lambda: lossy.ran.notes.count(("value", "late")) == 2, "its message has come again")
        sizes = until(
            lambda: broker.sizes(["default"])["default"].in_flight == 1 and broker.sizes(["default"]), "and is done"
        )
        assert sizes["default"].ready == 0
        lossy.goes_on.set()
        assert handle.get(timeout=60) == [["late", "b"], "other"]


def test_a_group_that_is_dropped_after_it_was_complete_is_lost_too(lossy):
    inner = Join("inner", 0, outer=Join("outer", 0))
    lossy.perform(Open("outer", 1, False, ()), Open("inner", 1, False, (Join("outer", 0),)))
    lossy.drop("inner")
    lossy.perform(Complete(inner, 1), known={inner.member: GroupProgress(size=1, done=1)})
    check_lost(lossy.app.result("outer"))


def test_a_failure_in_a_batch_fails_the_group_whatever_the_others_report(lossy):
    """The bits are lost, so each completion reports a complete group."""
    follows = Call(id="follows", task="total", queue="default", kwargs={"name": "follows"})
    lossy.perform(Open("g", 2, False, (follows,)))
    failure = lossy.app.runtime.registry.codec.encode(
        Failure(type="Planned", message="as planned", task="t", task_id="x")
    )
    failed, fine = Complete(Join("g", 0), None, failure, State.FAILURE), Complete(Join("g", 1), 1)
    lossy.drop_bits("g")
    lossy.perform(failed, fine, known={fine.member: GroupProgress(size=2, done=2)})
    with pytest.raises(TaskFailed, match="as planned"):
        lossy.app.result("g").get(timeout=60)
    with pytest.raises(TaskFailed, match="as planned"):
        lossy.app.result("follows").get(timeout=60)


def test_a_task_runs_although_its_record_was_dropped_while_its_message_waited(lossy):
    app, backend = lossy.app, lossy.app.runtime.backend
    first = lossy.signature(lossy.value, "first").set(task_id="first")
    handle = app.send(chain(first, lossy.signature(lossy.value, "second")))
    lossy.drop_record("first")
    with pytest.raises(UnknownResult):
        app.result("first").get(timeout=60)
    with pytest.raises(ResultLost):
        handle.get(timeout=60)
    with app.worker():
        assert lossy.ran.wait_for(2) == [("value", "first"), ("value", "second")]
        until(lambda: backend.read([handle.id])[0].state.terminal, "its end is recorded")
        assert handle.get(timeout=60) == "second"


def test_a_result_that_is_not_kept_is_nothing_that_was_lost(lossy):
    """A retention of zero ends the first records of a workflow early; that is not a loss."""
    first = lossy.signature(lossy.value, "first").set(retention=0)
    handle = lossy.app.send(chain(first, lossy.signature(lossy.waiting), lossy.signature(lossy.value, "last")))
    with lossy.app.worker():
        happened(lossy.reached, "the second one has begun")
        until(lambda: lossy.app.runtime.backend.read([handle._parts[0]]) == [None], "the first one is gone")
        assert not handle.wait(0.5)
        lossy.goes_on.set()
        assert handle.get(timeout=60) == "last"
