"""Stopping: nothing lost, nothing repeated, nobody kept waiting; and starting as many workers as one likes."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from drivetrain import App, State, chord, group
from support import killing
from support.faults import Faults, hoard, hurry, let_fail
from support.waiting import Log, happened, until


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return f"memory://{uuid4().hex}" if request.param == "memory" else f"sqlite:///{tmp_path}/work.db"


def make(url, log, **settings):
    app = App(url, url, **{"concurrency": 1, **settings})
    hurry(app)
    app.task(name="value")(lambda x: (log.note(x), x)[1])
    return app


def test_sigterm_under_load_loses_and_repeats_nothing(tmp_path):
    database, runs = tmp_path / "work.db", killing.Runs(tmp_path / "runs")
    with killing.make_app(database, runs.path) as app:
        # More than two workers can do before this process, on a busy machine, has seen them work.
        members = [app.signature("slow", 0.005).set(task_id=f"s{n}") for n in range(2000)]
        handle = app.send(chord(group(members), app.signature("total")))
        app.runtime.backend.close()
        for turn in range(3):
            before = len(runs.read())
            command = [sys.executable, killing.__file__, str(database), str(runs.path), "null", '{"concurrency": 4}']
            with subprocess.Popen(command, stderr=subprocess.PIPE) as worker:
                until(lambda before=before: len(runs.read()) > before + 20, f"worker {turn} works")
                worker.send_signal(signal.SIGTERM)
                _, told = worker.communicate(timeout=20)
            assert worker.returncode == 0, told.decode()[-2000:]
            held = app.runtime.broker.sizes(["default"])["default"].in_flight
            assert held == 0, f"{held} messages were not released"
            unfinished = [record for record in app.operations.unfinished(limit=5000) if record.state is State.STARTED]
            assert unfinished == []
        with app.worker(concurrency=4):
            assert handle.get(timeout=60) == 2000
    assert set(Counter(runs.read()).values()) == {1}
    assert len(runs.read()) == 2001


def test_what_runs_may_finish_within_the_grace(url):
    log, started, go = Log(), threading.Event(), threading.Event()
    app = make(url, log)
    app.task(name="long")(lambda: (started.set(), happened(go, "it may finish"), "done")[2])
    worker = app.worker(grace_seconds=20).start()
    handle = app.send(app.signature("long"))
    happened(started, "it starts")
    worker.stop(wait=False)
    go.set()
    worker.stop()
    assert handle.get(timeout=0.1) == "done"
    app.close()


def test_tasks_that_have_not_begun_are_released_at_once(url):
    """Another worker gets it long before any lease ends, and does not take it for a crash."""
    log, started, go = Log(), threading.Event(), threading.Event()
    app, other = make(url, log, lease_seconds=600), make(url, log, lease_seconds=600)
    app.task(name="long")(lambda: (started.set(), happened(go, "it may finish"))[0])
    worker = app.worker()
    hoard(worker, 100)
    worker.start()
    app.send(app.signature("long"))
    happened(started, "it starts")
    waiting = app.send_many([app.signature("value", n) for n in range(10)])
    until(lambda: len(worker._in_flight) == 11, "the worker has taken all")
    worker.stop(wait=False)
    with other.worker():
        assert [handle.get(timeout=60) for handle in waiting] == list(range(10))
    assert {handle.record().starts for handle in waiting} == {1}
    go.set()
    worker.stop()
    assert sorted(log.notes) == list(range(10))
    app.close()
    other.close()


def test_tasks_that_do_not_finish_in_the_grace_time_are_released(url):
    log, started, go = Log(), threading.Event(), threading.Event()
    app, other = make(url, log, lease_seconds=600), make(url, log, lease_seconds=600)
    app.task(name="long")(lambda: (started.set(), happened(go, "it may finish"), "late")[2])
    other.task(name="long")(lambda: "in time")
    worker = app.worker().start()
    handle = app.send(app.signature("long"))
    happened(started, "it starts")
    began = time.monotonic()
    worker.stop(grace_seconds=0.3)
    assert time.monotonic() - began < 3
    with other.worker():
        assert handle.get(timeout=60) == "in time"
    go.set()
    assert handle.get(timeout=60) == "in time"
    assert handle.record().starts == 1
    app.close()
    other.close()


def test_a_second_stop_ends_the_grace(url):
    log, started, go = Log(), threading.Event(), threading.Event()
    app = make(url, log)
    app.task(name="long")(lambda: (started.set(), happened(go, "it may finish"))[0])
    worker = app.worker(grace_seconds=600).start()
    app.send(app.signature("long"))
    happened(started, "it starts")
    worker.stop(wait=False)
    worker.stop(wait=False)
    began = time.monotonic()
    worker.stop(grace_seconds=0)
    assert time.monotonic() - began < 3
    worker.stop()
    go.set()
    app.close()


def test_a_worker_that_is_stopped_at_once_ends_cleanly_twenty_times(url):
    app = make(url, Log())
    before = threading.active_count()
    for _ in range(20):
        worker = app.worker().start()
        worker.stop()
        worker.stop()
    until(lambda: threading.active_count() <= before, "no thread is left behind")
    app.close()


def test_a_worker_that_is_stopped_before_it_starts_ends(url):
    app = make(url, Log())
    worker = app.worker()
    worker.stop()
    worker.start()
    worker.stop()
    app.close()


def test_stopping_while_messages_arrive_loses_and_repeats_nothing(url):
    log = Log()
    app = make(url, log, concurrency=4)
    handles = app.send_many([app.signature("value", n) for n in range(400)])
    for turn in range(8):
        worker = app.worker().start()
        log.wait_for(min(400, 20 * (turn + 1)))
        worker.stop()
        sizes = app.runtime.broker.sizes(["default"])["default"]
        assert sizes.in_flight == 0
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles] == list(range(400))
    assert sorted(log.notes) == list(range(400))
    app.close()


def test_workers_of_one_process_start_and_stop_by_themselves(url):
    log = Log()
    apps = [make(url, log) for _ in range(3)]
    workers = [app.worker().start() for app in apps for _ in range(2)]
    handles = apps[0].send_many([apps[0].signature("value", n) for n in range(100)])
    for worker in workers[:-1]:
        worker.stop()
    assert [handle.get(timeout=60) for handle in handles] == list(range(100))
    workers[-1].stop()
    assert sorted(log.notes) == list(range(100))
    for app in apps:
        app.close()


def test_two_workers_of_one_app_with_queues_of_their_own_do_not_keep_each_other_waiting(tmp_path):
    log = Log()
    app = App(f"sqlite:///{tmp_path}/work.db", concurrency=1)
    app.task(name="value")(lambda x: (log.note(x), x)[1])
    with app.worker(queues="one"), app.worker(queues="two"):
        began = time.monotonic()
        for n in range(10):
            for queue in ("one", "two"):
                assert app.send(app.signature("value", n).set(queue=queue)).get(timeout=60) == n
        assert time.monotonic() - began < 3
    app.close()


def test_stopping_does_not_wait_for_an_unavailable_service(url):
    log, started, go = Log(), threading.Event(), threading.Event()
    app, sender = make(url, log, grace_seconds=0.5), make(url, log)
    app.task(name="long")(lambda: (started.set(), happened(go, "it may finish"))[0])
    faults = Faults()
    let_fail(app, faults)
    worker = app.worker().start()
    sender.send(sender.signature("long"))
    happened(started, "it starts")
    faults.share = 1.0
    go.set()
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 5
    app.close()
    sender.close()


def test_many_workers_come_and_go_while_work_goes_on(url):
    """A rolling restart, over and over, under load."""
    log = Log()
    app = make(url, log, concurrency=2)
    handles = app.send_many([app.signature("value", n) for n in range(500)])

    def come_and_go(_):
        for _ in range(5):
            worker = app.worker().start()
            log.wait_for(min(500, len(log.notes) + 5))
            worker.stop()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come_and_go, range(3)))
    with app.worker():
        assert [handle.get(timeout=60) for handle in handles] == list(range(500))
    assert sorted(log.notes) == list(range(500))
    app.close()


def test_no_two_workers_receive_with_one_broker_object_that_others_may_have_too(tmp_path):
    app = App(f"sqlite:///{tmp_path}/work.db", concurrency=1)
    first, second = app.worker(), app.worker()
    brokers = [worker._runtime.broker for worker in (first, second)]
    assert brokers[0] is app.runtime.broker
    assert brokers[1] is not brokers[0]
    for worker in (first, second):
        worker.start()
        worker.stop()
    assert app.worker()._runtime.broker is app.runtime.broker
    app.close()
