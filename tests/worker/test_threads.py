"""No thread of a worker ends silently: a failed thread is reported, and the worker releases everything and stops."""

import logging
import threading

import pytest

from drivetrain import State, WorkerFailed, current_task
from drivetrain.worker import deadlines
from drivetrain.worker.finishing.finisher import Finisher
from drivetrain.worker.heartbeat import Heartbeat
from drivetrain.worker.pools.loop import LoopPool
from drivetrain.worker.pools.processes import ProcessPool
from drivetrain.worker.pools.threads import ThreadPool
from drivetrain.worker.rescue.rescuer import Rescuer
from drivetrain.worker.settler import Settler
from drivetrain.worker.worker import Worker
from support.faults import hurry
from support.waiting import happened


def _fail(*_args, **_options):
    raise SystemExit("it is broken")


def _settling(patch):
    patch.setattr(Settler, "_more", _fail)


def _beating(patch):
    patch.setattr(Heartbeat, "beat", _fail)


def _rescuing(patch):
    patch.setattr(Rescuer, "run", _fail)


def _running(patch):
    patch.setattr(Settler, "settle_or_put", _fail)


def _waking(patch):
    patch.setattr(ThreadPool, "_wake", _fail)


def _striking(patch):
    patch.setattr(deadlines, "_strike", _fail)


def _looping(patch):
    patch.setattr(LoopPool, "_run_loop", _fail)


def _feeding(patch):
    patch.setattr(ProcessPool, "_attempt", _fail)


#: The name of each thread, how it is made to fail, and the task that makes it do so.
THREADS = {
    "drivetrain-settle": (_settling, "quick"),
    "drivetrain-heartbeat": (_beating, "quick"),
    "drivetrain-rescue": (_rescuing, "quick"),
    "drivetrain-task-0": (_running, "quick"),
    "drivetrain-waker": (_waking, "quick"),
    "drivetrain-deadlines": (_striking, "limited"),
    "drivetrain-loop": (_looping, "async"),
    "drivetrain-child-0": (_feeding, "pool_tasks.pid"),
}


@pytest.mark.parametrize(("thread", "fails", "task"), [(name, *how) for name, how in THREADS.items()], ids=THREADS)
def test_a_thread_that_fails_stops_its_worker_which_gives_everything_back(
    children, monkeypatch, caplog, thread, fails, task
):
    app, started, go = children.app, threading.Event(), threading.Event()
    hurry(app)

    @app.task(name="long", pool="threads")
    def long() -> int:
        started.set()
        happened(go, "it may end")
        return current_task().attempt

    @app.task(name="limited", pool="threads", timeout=0.01)
    def limited() -> None:
        happened(go, "it may end")

    app.task(name="quick", pool="threads")(lambda: 1)
    app.task(name="async")(_nothing)
    with monkeypatch.context() as patch:
        fails(patch)
        if task == "quick" and fails is not _running:
            patch.setattr(Settler, "settle_or_put", Settler.put)
        worker = app.worker(lease_seconds=0.6, grace_seconds=600, concurrency=2)
        held = app.send(app.signature("long"))
        worker.start()
        if fails not in {_waking, _rescuing}:
            happened(started, "the long one runs")
        app.send(app.signature(task))
        worker._thread.join(60)
        assert not worker._thread.is_alive(), "it stops by itself"
        with pytest.raises(WorkerFailed, match="drivetrain-") as raised:
            worker.stop()
    assert thread.rstrip("0") in str(raised.value)
    assert isinstance(raised.value.__cause__, SystemExit)
    criticals = [one for one in caplog.records if one.levelno == logging.CRITICAL]
    (critical,) = [one for one in criticals if "stopping the worker" in one.message]
    assert thread.rstrip("0") in critical.message
    assert critical.exc_info
    assert held.state() is not State.STARTED
    go.set()
    with app.worker():
        assert held.get(timeout=60) == 0
    assert held.record().starts <= 1, "no start is counted as a crash"


async def _nothing() -> None:
    pass


def test_a_grace_that_cannot_be_measured_ends_at_once(make_app, memory_url, monkeypatch, caplog):
    app, started, go = make_app(memory_url), threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.set()
        happened(go, "it may end")

    monkeypatch.setattr(Worker, "_end_grace", _fail)
    worker = app.worker(grace_seconds=600).start()
    held = app.send(app.signature("long"))
    happened(started, "it runs")
    with pytest.raises(WorkerFailed, match="drivetrain-grace"):
        worker.stop()
    assert held.state() is State.RECEIVED
    assert "thread drivetrain-grace has failed; stopping the worker" in caplog.text
    go.set()


def test_the_receiving_thread_that_fails_gives_everything_back_too(make_app, memory_url, monkeypatch, caplog):
    app, started, go = make_app(memory_url, grace_seconds=0), threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.set()
        happened(go, "it may end")

    worker = app.worker().start()
    held = app.send(app.signature("long"))
    happened(started, "it runs")
    monkeypatch.setattr(worker._receive_loop, "_receive_once", _fail)
    worker._thread.join(60)
    with pytest.raises(SystemExit):
        worker.stop()
    assert held.state() is State.RECEIVED
    assert any(one.levelno == logging.CRITICAL for one in caplog.records)
    go.set()


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1)], ids=repr)
def test_an_ending_that_cannot_be_settled_ends_no_thread(make_app, memory_url, monkeypatch, error):
    """Its message comes again, and the next one is settled."""
    app = make_app(memory_url, lease_seconds=0.3)
    settle, failures = Finisher.settle, [error]

    def fail_once(settlement, endings):
        if endings and failures:
            raise failures.pop()
        settle(settlement, endings)

    monkeypatch.setattr(Finisher, "settle", fail_once)
    with app.worker():
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1
        assert app.send(app.signature("value", 2)).get(timeout=60) == 2


def test_a_pool_whose_threads_cannot_all_be_started_leaves_none_behind(make_app, memory_url, monkeypatch):
    app = make_app(memory_url)
    start, left = threading.Thread.start, [2]

    def start_few(thread):
        if thread.name.startswith(("drivetrain-task", "drivetrain-waker")):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(thread)

    worker = app.worker(concurrency=4)
    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", start_few)
    with pytest.raises(RuntimeError, match="can't start"):
        worker._pools._thread_pool()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
