"""Tasks whose earlier starts came to nothing run alone, and are condemned only by what they do when they are alone."""

import os
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from drivetrain import App, State, TaskCancelled, TaskFailed, retry
from drivetrain.contract import Transition
from drivetrain.worker import isolation
from drivetrain.worker.lone_starts import lone_start
from drivetrain.worker.start_decision import max_shared_starts
from drivetrain.worker.unfinished import Unfinished
from support.clocks import Ahead
from support.faults import hoard, hurry
from support.waiting import Log, happened, until


@pytest.mark.parametrize(
    ("max_starts", "beside_others", "alone"), [(1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 2, 3), (9, 2, 7)]
)
def test_how_many_starts_happen_alone(max_starts, beside_others, alone):
    assert max_shared_starts(max_starts) == beside_others
    starts = [lone_start(Unfinished(lone_starts=n), max_starts=max_starts, tally="") for n in range(alone + 2)]
    if alone == 0:
        assert starts == [None, None]
        return
    assert [(one.last, one.exclusive) for one in starts[:-1]] == [
        *[(False, False)] * (alone - 1),
        (True, False),
        (True, True),
    ]
    assert starts[-1] is None


def test_a_lone_start_keeps_the_other_fields_of_the_record():
    known = Unfinished(due=12.5, failure={"is": "failure"}, lone_starts=1)
    record = lone_start(known, max_starts=5, tally="").record
    assert record == Unfinished(due=12.5, failure={"is": "failure"}, lone_starts=2)


def died(app, handle, times=2):
    """Record that workers started a task so often and were never heard of again."""
    app.runtime.backend.record(
        [
            Transition(task_id=handle.id, state=State.STARTED, at=1.0, run=uuid4().hex, lease=0.0, worker="dead")
            for _ in range(times)
        ]
    )
    return handle


def send_suspect(app, task, *args, times=2):
    """Send a task that was started so often already."""
    task_id = uuid4().hex
    handle = app.send(app.signature(task, *args).set(task_id=task_id))
    return died(app, handle, times)


def withheld(app):
    """Keep the only message back, until what is returned is called."""
    broker = app.runtime.broker
    found = broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=600)
    return lambda: broker.release(found)


# In a process of its own


@pytest.fixture
def suspects(tmp_path, monkeypatch):
    """The module of tasks that other processes find, its app on a file."""
    yield from _suspects(tmp_path, monkeypatch, backend=f"sqlite:///{tmp_path}/work.db")


@pytest.fixture
def forgetful(tmp_path, monkeypatch):
    """The same, with a backend that keeps nothing."""
    yield from _suspects(tmp_path, monkeypatch, backend="null://")


def _suspects(tmp_path, monkeypatch, *, backend):
    monkeypatch.setenv("SUSPECT_TASKS_BROKER", f"sqlite:///{tmp_path}/work.db")
    monkeypatch.setenv("SUSPECT_TASKS_BACKEND", backend)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "suspect_tasks", raising=False)
    import suspect_tasks

    with suspect_tasks.app:
        hurry(suspect_tasks.app)
        yield suspect_tasks
    monkeypatch.delitem(sys.modules, "suspect_tasks", raising=False)


@pytest.mark.parametrize("task", ["pid", "pid_in_loop"])
def test_a_suspect_runs_in_another_process_from_its_third_start_on(suspects, task):
    app, name = suspects.app, f"suspect_tasks.{task}"
    second, suspect = (send_suspect(app, name, times=times) for times in (1, 2))
    with app.worker():
        assert second.get(timeout=60) == os.getpid()
        assert suspect.get(timeout=60) != os.getpid()
        assert suspect.record().starts == 3


def test_harmless_suspects_run_one_after_another_in_the_same_process(suspects):
    app = suspects.app
    handles = [send_suspect(app, "suspect_tasks.pid") for _ in range(3)]
    with app.worker():
        assert len({handle.get(timeout=60) for handle in handles}) == 1


def test_only_the_suspect_that_kills_its_process_is_dead_lettered(suspects):
    app = suspects.app
    deadly = [send_suspect(app, "suspect_tasks.die") for _ in range(2)]
    others = [send_suspect(app, "suspect_tasks.pid", times=times) for times in (4, 5, 20)]
    with app.worker():
        for handle in deadly:
            with pytest.raises(TaskFailed, match="started 5 times, 3 of them alone.* was killed by SIGKILL") as raised:
                handle.get(timeout=60)
            assert raised.value.failure.type == "drivetrain.WorkerDied"
        assert all(handle.get(timeout=60) for handle in others)
    letters = until(lambda: app.operations.dead_letters("default"), "they are put aside")
    assert {letter.task_id for letter in letters} == {handle.id for handle in deadly}
    assert all(letter.reason.startswith("crashed: started 5 times") for letter in letters)


def test_the_last_lone_start_uses_a_fresh_process(suspects):
    app = suspects.app
    first, second = [send_suspect(app, "suspect_tasks.pid") for _ in range(2)]
    with app.worker(max_starts=3):
        assert first.get(timeout=60) != second.get(timeout=60)


def test_a_suspect_keeps_its_time_limit_and_its_retries(suspects):
    app = suspects.app
    late, handle = [send_suspect(app, f"suspect_tasks.{name}") for name in ("too_long", "once_more")]
    with app.worker():
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            late.get(timeout=60)
        assert handle.get(timeout=60) == 1
        assert handle.record().starts == 1


def test_a_suspect_does_not_begin_in_its_process_when_its_lease_has_run_out_on_the_way(suspects, monkeypatch):
    app = suspects.app
    execute = isolation.Slot.execute
    late = [-1.0]

    def be_late(slot, run, task):
        if late:
            run.owned_until = late.pop()  # as after a pause of the worker
        return execute(slot, run, task)

    monkeypatch.setattr(isolation.Slot, "execute", be_late)
    handle = send_suspect(app, "suspect_tasks.pid")
    with app.worker():
        assert handle.get(timeout=60)
    assert not late
    assert handle.record().starts == 3  # the one that did not begin was released


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_suspect_that_forks_ends_once(suspects):
    app = suspects.app
    handles = [send_suspect(app, "suspect_tasks.fork"), send_suspect(app, "suspect_tasks.pid")]
    with app.worker():
        forked, other = [handle.get(timeout=60) for handle in handles]
    assert forked == other


def test_cancelling_kills_the_process_of_a_suspect(suspects, tmp_path):
    app, started = suspects.app, tmp_path / "started"
    handle = send_suspect(app, "suspect_tasks.wait", str(started))
    with app.worker(lease_seconds=0.6):
        pid = int(until(lambda: started.exists() and started.read_text(), "it runs"))
        handle.cancel()
        until(lambda: not _alive(pid), "its process is killed")
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)


def test_stopping_releases_suspects_without_counting_a_lone_start(suspects, tmp_path):
    app, started = suspects.app, tmp_path / "started"
    runs = send_suspect(app, "suspect_tasks.wait", str(started))
    waits = send_suspect(app, "suspect_tasks.pid")
    worker = app.worker().start()
    pid = int(until(lambda: started.exists() and started.read_text(), "it runs"))
    until(lambda: waits.state() in {State.STARTED, State.RECEIVED}, "the other one waits, or was released")
    worker.stop(grace_seconds=0.1)
    until(lambda: not _alive(pid), "its process is killed")
    assert [handle.state() for handle in (runs, waits)] == [State.RECEIVED] * 2
    assert [handle.record().starts for handle in (runs, waits)] == [2, 2]
    payloads = app.runtime.payloads
    assert [Unfinished.load(payloads, handle.record()).lone_starts for handle in (runs, waits)] == [0, 0]
    assert app.operations.sizes(["default"])["default"].in_flight == 0


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_of_many_suspects_some_wait_and_the_others_are_left_to_other_workers(suspects, monkeypatch):
    app = suspects.app
    monkeypatch.setattr(isolation, "_MOST_WAITING", 2)
    handles = [send_suspect(app, "suspect_tasks.pid") for _ in range(8)]
    worker = app.worker()
    hoard(worker, 100)
    with worker:
        for handle in handles:
            handle.get(timeout=60)
    assert [handle.record().starts for handle in handles] == [3] * 8


def test_a_suspect_whose_worker_dies_in_its_last_lone_start_gets_the_worker_for_itself(suspects):
    """And is condemned when that one dies too: then nobody else can have been the reason."""
    app = suspects.app
    handle = send_suspect(app, "suspect_tasks.pid", times=5)
    innocent = send_suspect(app, "suspect_tasks.pid", times=5)
    for suspect, lone in ((handle, 4), (innocent, 3)):
        record = Unfinished(lone_starts=lone).dump(app.runtime.payloads)
        app.runtime.backend.record(
            [Transition(task_id=suspect.id, state=State.STARTED, at=1.0, run="r", lease=0.0, payload=record)]
        )
    with app.worker():
        with pytest.raises(TaskFailed, match="started 6 times and never finished, 4 of them alone; the last time its"):
            handle.get(timeout=60)
        assert innocent.get(timeout=60) != os.getpid()


def test_a_task_that_may_be_started_once_is_not_started_again(suspects):
    app = suspects.app
    handle = send_suspect(app, "suspect_tasks.pid", times=1)
    with app.worker(max_starts=1), pytest.raises(TaskFailed, match="started once and never finished"):
        handle.get(timeout=60)


def test_with_a_backend_that_stores_nothing_the_worker_counts_crashes_itself(forgetful):
    """Deliveries are counted, which say nothing of guilt: only the death of a process of its own does."""
    app = forgetful.app
    broker = app.runtime.broker
    for name in ("die", "pid"):
        app.send(app.signature(f"suspect_tasks.{name}"))
    for _ in range(6):
        broker.release(broker.receive(["default"], limit=10, wait_seconds=5, hold_seconds=60))
    with app.worker():
        (letter,) = until(lambda: app.operations.dead_letters("default"), "it is put aside")
        until(lambda: not app.operations.sizes(["default"])["default"].in_flight, "the other one has ended")
    assert letter.task == "suspect_tasks.die"
    assert "delivered 7 times" in letter.reason
    assert "was killed by SIGKILL" in letter.reason
    assert app.operations.sizes(["default"])["default"].dead == 1


# While the worker runs nothing else


def start_and_die(app):
    """Start a task, and never be heard of again."""
    worker = app.worker()
    (run,) = worker._receiver.start(worker._receiver.receive(worker.options.queues, 1, 5.0))
    if run.lone is not None:
        worker._suspects.isolation()._record_start(run, run.lone)


def test_a_task_whose_workers_keep_dying_is_dead_lettered_and_keeps_its_retries(tmp_path):
    url = f"sqlite:///{tmp_path}/work.db"
    apps = [App(url, url, clock=Ahead(turn * 3600.0), max_starts=3, concurrency=1) for turn in range(5)]
    for app in apps:
        hurry(app)
        app.task(name="deadly", retry=retry.fixed(0, max_retries=10))(lambda *_: None)
    handle = apps[0].send(apps[0].signature("deadly") | apps[0].signature("deadly"))
    for app in apps[:4]:
        start_and_die(app)
    with apps[4].worker():
        with pytest.raises(TaskFailed, match="started 4 times and never finished, 2 of them alone") as raised:
            handle.get(timeout=60)
        (letter,) = until(lambda: apps[4].operations.dead_letters("default"), "it is put aside")
    assert raised.value.failure.attempt == 0
    assert letter.attempt == 0
    assert "crashed" in letter.reason
    for app in apps:
        app.close()


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_a_suspect_that_no_other_process_finds_runs_when_the_worker_runs_nothing_else(make_app, url, kind):
    app, log, go = make_app(url), Log(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        log.note("long begins")
        happened(go, "it may end")
        log.note("long ends")

    if kind == "threads":
        app.task(name="suspect")(lambda: log.note("suspect"))
    else:

        @app.task(name="suspect")
        async def suspect() -> None:
            log.note("suspect")

    handle = send_suspect(app, "suspect")
    come = withheld(app)
    beside = app.send(app.signature("long"))
    with app.worker() as worker:
        log.wait_for(1)
        come()
        until(lambda: worker._suspects.want_worker, "it waits for the worker")
        later = app.send(app.signature("value", 1))
        assert not worker._suspects.have_worker
        go.set()
        handle.get(timeout=60)
        assert later.get(timeout=60) == 1
        beside.get(timeout=60)
    assert log.notes == ["long begins", "long ends", "suspect"]


def test_a_suspect_does_not_keep_the_worker_waiting_for_longer_than_a_lease(make_app, url):
    app, log, go = make_app(url), Log(), threading.Event()
    app.task(name="suspect")(lambda: log.note("suspect"))

    @app.task(name="long")
    def long() -> None:
        log.note("long")
        happened(go, "it may end")

    suspect = send_suspect(app, "suspect")
    come = withheld(app)
    app.send(app.signature("long"))
    with app.worker(lease_seconds=0.5):
        log.wait_for(1)
        come()
        until(lambda: suspect.state() is State.RECEIVED, "it is released")
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1
        go.set()
        suspect.get(timeout=60)
        assert suspect.record().starts == 3


def test_draining_runs_suspects_too(memory_app):
    memory_app.task(name="suspect")(lambda: 7)
    handle = send_suspect(memory_app, "suspect")
    memory_app.worker().drain()
    assert handle.get(timeout=0) == 7
