"""Cancelling: at once for everybody who waits, and whatever the task does later changes nothing."""

import asyncio
import threading
from datetime import timedelta

import pytest

from drivetrain import State, TaskCancelled, UnknownResult, chain, chord, current_task, group
from drivetrain.contract import Transition
from support.faults import Changed, Fault, Faults, Moment, hoard, let_fail, rewire
from support.waiting import happened, until

SOON = 2.0


def assert_cancelled(*handles):
    for handle in handles:
        with pytest.raises(TaskCancelled):
            handle.get(timeout=SOON)


def assert_idle(app):
    """Wait until every message is settled."""
    until(lambda: _all_seen_to(app), "every message is settled")


def _all_seen_to(app):
    sizes = app.runtime.broker.sizes(["default"])["default"]
    return sizes.ready == sizes.in_flight == 0


def test_before_it_starts(app, log):
    handle = app.send(app.signature("value", 1))
    assert handle.cancel()
    assert_cancelled(handle)
    assert handle.cancel(), "it is still cancelled"
    with app.worker():
        assert_idle(app)
    assert log.notes == []
    assert handle.state() is State.CANCELLED


def test_while_it_waits_for_a_year(app, log):
    handle = app.send(app.signature("value", 1).set(delay=timedelta(days=365)) | app.signature("value"))
    assert handle.cancel()
    assert_cancelled(handle)


def test_a_chain_from_its_handle_and_from_its_middle(app, log):
    middle = app.signature("add", 1).set(task_id="middle")
    handle = app.send(chain(app.signature("value", 1), middle, app.signature("add", 2).set(task_id="last")))
    assert app.cancel("middle")
    assert_cancelled(app.result("middle"), app.result("last"), handle)
    with app.worker():
        assert_idle(app)
    assert log.notes == [("value", 1)]
    other = app.send(chain(app.signature("value", 1).set(task_id="first"), app.signature("add", 2)))
    assert other.cancel()
    assert_cancelled(other, app.result("first"))


def test_a_chain_when_its_first_result_is_gone(app):
    held = app.send(
        chain(
            app.signature("value", 1).set(task_id="first"),
            app.signature("add", 1).set(delay=600),
            app.signature("add", 1),
        )
    )
    with app.worker():
        app.result("first").get(timeout=60)
    app.result("first").forget()
    assert held.cancel()
    assert_cancelled(held)


def test_a_member_of_a_group(app, log):
    members = [app.signature("value", n).set(task_id=f"m{n}", delay=600) for n in range(3)]
    handle = app.send(chord(group(members), app.signature("total").set(task_id="total")))
    assert app.cancel("m1")
    assert_cancelled(handle, app.result("m1"), app.result("total"))
    assert app.result("m0").state() is State.PENDING


def test_a_member_of_a_group_that_collects(app):
    members = [app.signature("value", 0).set(task_id="m0"), app.signature("value", 1).set(task_id="m1", delay=600)]
    handle = app.send(group(members).set(on_member_failure="collect"))
    with app.worker():
        app.result("m0").get(timeout=60)
        assert app.cancel("m1")
        first, second = handle.get(timeout=60)
    assert first == 0
    assert second.type == "drivetrain.Cancelled"


@pytest.mark.parametrize("mode", ["fail", "collect"])
def test_a_whole_workflow(app, log, mode):
    members = group(app.signature("value", n).set(delay=600) for n in range(5)).set(on_member_failure=mode)
    handle = app.send(chain(members, app.signature("value"), app.signature("value")))
    assert handle.cancel()
    records = app.runtime.backend.read(handle._parts)
    assert {record.state for record in records} == {State.CANCELLED}
    assert_cancelled(handle)
    with app.worker():
        assert_idle(app)
    assert log.notes == []


def test_a_large_workflow_is_cancelled_in_few_calls(memory_app):
    app = memory_app
    handle = app.send(chord(group(app.signature("value", n) for n in range(2000)), app.signature("total")))
    assert handle.cancel()
    assert_cancelled(handle, *handle_members(app, handle))


def handle_members(app, handle):
    return [app.result(task_id) for task_id in handle._parts[:5]]


def test_while_it_runs_in_a_thread(make_app, url):
    app = make_app(url, lease_seconds=0.3)
    started, told, done = threading.Event(), threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> str:
        started.set()
        task = current_task()
        until(lambda: task.cancelled, "the task is notified that it was cancelled")
        told.set()
        done.set()
        return "too late"

    with app.worker():
        handle = app.send(app.signature("long") | app.signature("value"))
        happened(started, "it starts")
        assert handle.cancel()
        assert_cancelled(handle)
        happened(done, "the function returns")
        assert_idle(app)
    assert_cancelled(handle)


def test_while_it_runs_on_the_loop(make_app, url):
    app = make_app(url, lease_seconds=0.3)
    started, stopped = threading.Event(), threading.Event()

    @app.task(name="long")
    async def long() -> str:
        started.set()
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()
        return "never"

    with app.worker():
        handle = app.send(app.signature("long") | app.signature("value"))
        happened(started, "it starts")
        assert handle.cancel()
        assert_cancelled(handle)
        happened(stopped, "the coroutine is cancelled")
        assert_idle(app)


def test_a_late_success_starts_nothing(make_app, url, log):
    app = make_app(url)
    started, go = threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> int:
        started.set()
        go.wait(10)
        return 1

    with app.worker():
        handle = app.send(app.signature("long").set(on_success=[app.signature("value")]) | app.signature("add", 1))
        happened(started, "it starts")
        handle.cancel()
        go.set()
        assert_idle(app)
    assert_cancelled(handle)
    assert log.notes == []


def test_what_waits_in_a_worker_is_not_run_once_it_is_cancelled(make_app, memory_url, log):
    app = make_app(memory_url, concurrency=1, lease_seconds=0.3)
    started, go = threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.set()
        go.wait(10)

    worker = app.worker()
    hoard(worker, 10)
    with worker:
        app.send(app.signature("long"))
        happened(started, "it starts")
        waiting = app.send(app.signature("value", 1))
        until(lambda: waiting.state() is State.STARTED, "it waits in the worker")
        run = next(run for run in worker._in_flight.all() if run.task_id == waiting.id)
        waiting.cancel()
        until(lambda: run.stopped, "the worker is notified")
        go.set()
        assert_idle(app)
    assert log.notes == []


class _Interrupted(Changed):
    """A backend on which something happens right before the first ``record`` of a cancellation."""

    def __init__(self, backend, happens):
        super().__init__(backend)
        self._happens = happens

    def record(self, transitions):
        if self._happens is not None and any(one.state is State.CANCELLED for one in transitions):
            happens, self._happens = self._happens, None
            happens(self._driver)
        return self._driver.record(transitions)


def test_of_many_tasks_only_those_that_have_not_ended_meanwhile_and_what_waits_for_them(app):
    chains = [app.signature("value", n).set(task_id=f"m{n}") | app.signature("value") for n in range(4)]
    handles = app.send_many(chains)

    def succeed(backend):
        backend.record([Transition(task_id=name, state=State.SUCCESS, at=0.0) for name in ("m1", "m3")])

    rewire(app, backend=_Interrupted(app.runtime.backend, succeed))
    assert app.cancel("m0", "m1", "m2", "m3")
    assert_cancelled(handles[0], handles[2])
    assert [handle.state() for handle in handles] == [State.CANCELLED, State.PENDING] * 2


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("number", [1, 2])
def test_the_answer_is_the_same_when_a_reply_is_lost(app, moment, number):
    handle = app.send(app.signature("value", 1) | app.signature("value"))
    let_fail(app, Faults(Fault("record", number, moment)))
    assert handle.cancel()
    assert handle.cancel()
    assert_cancelled(handle)


def test_what_succeeded_and_was_dropped_meanwhile_is_not_cancelled_and_not_recorded(app):
    handle = app.send(app.signature("value", 1).set(task_id="gone"))

    def drop(backend):
        backend.record([Transition(task_id="gone", state=State.SUCCESS, at=0.0, retention=0.0)])

    rewire(app, backend=_Interrupted(app.runtime.backend, drop))
    assert not handle.cancel()
    assert app.runtime.backend.read(["gone"]) == [None]


def test_what_is_not_known_cannot_be_cancelled(app):
    with pytest.raises(UnknownResult):
        app.cancel("nobody")
