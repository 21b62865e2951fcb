"""Threads, the event loop and child processes: limits of time, cancelling, deaths; and how much a worker holds."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter

import pytest

from drivetrain import ConfigurationError, State, TaskCancelled, TaskFailed, TaskTimeout, current_task, retry
from drivetrain.worker.pools.slot import Slot
from support.faults import hurry
from support.processes import alive
from support.waiting import Log, happened, until

# Threads


def test_a_thread_that_takes_too_long_is_stopped_and_retried_as_its_policy_says(app):
    attempts = []

    @app.task(name="spin", timeout=0.1, retry=retry.fixed(0, max_retries=2, retry_on=[TaskTimeout]))
    def spin(until_attempt: int) -> int:
        attempts.append(current_task().attempt)
        while current_task().attempt < until_attempt:
            threading.Event().wait(0.01)
        return current_task().attempt

    with app.worker():
        assert app.send(app.signature("spin", 2)).get(timeout=60) == 2
        assert attempts == [0, 1, 2]
        with pytest.raises(TaskFailed, match="ran for longer than its timeout"):
            app.send(app.signature("spin", 9)).get(timeout=60)
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1


def test_a_time_limit_that_strikes_at_the_end_of_a_task_affects_no_other_task(memory_app):
    """Thousands of tasks that end just at their limit: each ends one way or the other, and the pool lives on."""
    app = memory_app

    @app.task(name="close", timeout=0.002)
    def close() -> int:
        end = time.monotonic() + 0.00195
        while time.monotonic() < end:
            pass
        return 1

    with app.worker(concurrency=4):
        handles = app.send_many([app.signature("close") for _ in range(600)])
        ended = Counter(_outcome(handle) for handle in handles)
        assert set(ended) <= {1, "drivetrain.worker.context.TaskTimeout"}, ended
        checks = app.send_many([app.signature("value", n) for n in range(50)])
        assert [check.get(timeout=60) for check in checks] == list(range(50))


def test_tasks_that_were_short_and_are_long_now_still_run_side_by_side(memory_app):
    """One thread is enough for short tasks; when they begin to wait for each other, the others must come."""
    app, together = memory_app, threading.Barrier(4)

    @app.task(name="meet")
    def meet(number: int) -> int:
        together.wait(timeout=10)
        return number

    with app.worker(concurrency=4):
        short = app.send_many([app.signature("value", n) for n in range(300)])
        assert [handle.get(timeout=60) for handle in short] == list(range(300))
        handles = app.send_many([app.signature("meet", n) for n in range(4)])
        assert [handle.get(timeout=15) for handle in handles] == list(range(4))


def _outcome(handle):
    try:
        return handle.get(timeout=60)
    except TaskFailed as error:
        return error.failure.type


def test_a_task_that_ends_its_thread_ends_only_itself(app):
    app.task(name="exiting")(lambda: sys.exit(3))
    app.task(name="interrupting")(_interrupt)
    with app.worker():
        for task in ("exiting", "interrupting") * 5:
            with pytest.raises(TaskFailed, match=r"SystemExit|KeyboardInterrupt"):
                app.send(app.signature(task)).get(timeout=60)
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1


def _interrupt():
    raise KeyboardInterrupt


class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")


def test_an_error_that_cannot_be_shown_is_still_an_error(app):
    def hostile():
        raise Hostile

    app.task(name="hostile")(hostile)
    with app.worker(), pytest.raises(TaskFailed, match="Hostile"):
        app.send(app.signature("hostile")).get(timeout=60)


# The loop


def test_many_coroutines_run_at_once(app):
    meeting = {"here": 0, "event": None}

    @app.task(name="meet")
    async def meet(number: int) -> int:
        meeting["event"] = meeting["event"] or asyncio.Event()
        meeting["here"] += 1
        if meeting["here"] == 50:
            meeting["event"].set()
        await asyncio.wait_for(meeting["event"].wait(), 10)
        return number

    with app.worker(loop_concurrency=50):
        handles = app.send_many([app.signature("meet", n) for n in range(50)])
        assert [handle.get(timeout=15) for handle in handles] == list(range(50))


def test_how_coroutines_end(app):
    @app.task(name="slow", timeout=0.1)
    async def slow() -> None:
        await asyncio.sleep(600)

    @app.task(name="own.timeout", timeout=60)
    async def own_timeout() -> None:
        await asyncio.wait_for(asyncio.sleep(600), 0.05)

    @app.task(name="failing")
    async def failing() -> None:
        await asyncio.sleep(0)
        raise LookupError("no such thing")

    @app.task(name="self.cancel")
    async def self_cancel() -> None:
        asyncio.current_task().cancel()
        await asyncio.sleep(600)

    @app.task(name="exiting")
    async def exiting() -> None:
        raise SystemExit(1)

    @app.task(name="flaky.slow", timeout=0.1, retry=retry.fixed(0))
    async def flaky_slow() -> str:
        if current_task().attempt == 0:
            await asyncio.sleep(600)
        return "at last"

    wanted = {
        "slow": "TaskTimeout",
        "own.timeout": "TimeoutError",
        "failing": "no such thing",
        "self.cancel": "CancelledError",
        "exiting": "SystemExit",
    }
    with app.worker():
        handles = {task: app.send(app.signature(task)) for task in wanted}
        for task, words in wanted.items():
            with pytest.raises(TaskFailed, match=words):
                handles[task].get(timeout=60)
        assert app.send(app.signature("flaky.slow")).get(timeout=60) == "at last"


def test_coroutines_that_are_cancelled_before_they_begin_leave_nothing_behind(make_app, memory_url):
    app = make_app(memory_url)

    @app.task(name="idle")
    async def idle() -> None:
        await asyncio.sleep(600)

    with app.worker(lease_seconds=0.3) as worker:
        for _ in range(5):
            handles = app.send_many([app.signature("idle") for _ in range(20)])
            until(lambda handles=handles: all(h.state() is State.STARTED for h in handles), "they start")
            pool = next(iter(worker._pools._pools.values()))
            runs = worker._in_flight.all()
            app.cancel(*(handle.id for handle in handles))
            for run in runs:
                pool.cancel(run)
        until(lambda: not len(worker._in_flight), "all are let go of")


def test_a_coroutine_cancelled_between_its_making_and_its_first_step(make_app, memory_url):
    """The narrowest moment: the loop has made its asyncio task, which has not had a step."""
    app = make_app(memory_url, lease_seconds=0.3)
    app.task(name="idle")(_sleep_long)
    worker = app.worker()
    pool = worker._pools.get(app.tasks["idle"].pool)
    fill = pool._fill

    def fill_and_cancel():
        fill()
        for task in pool._running.values():
            task.cancel()

    pool._fill = fill_and_cancel
    with worker:
        handle = app.send(app.signature("idle"))
        until(lambda: handle.state() is State.STARTED, "it is started")
        handle.cancel()
        pool._fill = fill
        until(lambda: not len(worker._in_flight), "it is let go of")
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)


async def _sleep_long():
    await asyncio.sleep(600)


# Child processes


def test_child_processes(children, tmp_path):
    app = children.app
    hurry(app)
    with app.worker(lease_seconds=5):
        handles = [children.pid.send() for _ in range(2)]
        squares = [children.square.send(n) for n in range(20)]
        assert os.getpid() not in {handle.get(timeout=30) for handle in handles}
        assert [handle.get(timeout=60) for handle in squares] == [n * n for n in range(20)]

        with pytest.raises(TaskFailed, match="not here") as raised:
            children.failing.send("not here").get(timeout=60)
        assert raised.value.failure.type == "builtins.LookupError"
        assert "raise LookupError(text)" in raised.value.failure.traceback
        for task in (children.unpicklable_error, children.unsendable_result):
            with pytest.raises(TaskFailed):
                task.send().get(timeout=60)

        began = time.monotonic()
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            children.too_long.send().get(timeout=60)
        assert children.too_long_once.send().get(timeout=60) == 1
        assert time.monotonic() - began < 10

        path = tmp_path / "deaths"
        handle = children.die_until.send(str(path), 2)
        assert handle.get(timeout=30) == 3
        assert path.read_text().split() == ["0", "0", "0"]
        assert handle.record().starts == 3


def test_a_task_that_kills_its_process_repeatedly_is_dead_lettered(children, tmp_path):
    app = children.app
    hurry(app)
    with app.worker(max_starts=2):
        with pytest.raises(TaskFailed, match="started 2 times"):
            children.die_until.send(str(tmp_path / "deaths"), 99).get(timeout=30)
        until(lambda: app.operations.dead_letters("default"), "it is put aside")
    assert (tmp_path / "deaths").read_text().split() == ["0", "0"]


def test_cancelling_kills_the_process_that_runs_the_task_and_stopping_leaves_none(children, tmp_path):
    app = children.app
    hurry(app)
    path, other = tmp_path / "pid", tmp_path / "other"
    with app.worker(lease_seconds=0.6, grace_seconds=0.2):
        handle = children.note_and_wait.send(str(path))
        pid = int(until(lambda: path.exists() and path.read_text(), "it runs"))
        handle.cancel()
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)
        until(lambda: not alive(pid), "its process is killed")
        children.note_and_wait.send(str(other))
        pid = int(until(lambda: other.exists() and other.read_text(), "the next one runs"))
    until(lambda: not alive(pid), "no process is left behind")


def test_a_signal_to_the_whole_group_does_not_end_children(children, tmp_path):
    app = children.app
    hurry(app)
    path = tmp_path / "pid"
    with app.worker(grace_seconds=0.2):
        children.note_and_wait.send(str(path))
        pid = int(until(lambda: path.exists() and path.read_text(), "it runs"))
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
        assert children.square.send(3).get(timeout=60) == 9
        assert alive(pid)


def test_a_task_that_no_other_process_can_find_is_refused_when_the_worker_is_made(memory_app):
    memory_app.task(name="local", pool="processes")(lambda: None)
    with pytest.raises(ConfigurationError, match=r"local.*top level of a module"):
        memory_app.worker()


def test_a_child_that_stood_still_until_its_hold_had_ended_does_not_begin(children, tmp_path):
    """Another worker has done the task meanwhile."""
    app, path = children.app, tmp_path / "runs"
    hurry(app)
    first, second = app.worker(lease_seconds=0.5, concurrency=1), app.worker(concurrency=1)
    with first:
        pid = children.pid.send().get(timeout=60)
        first._heartbeat.beat = lambda: None
        os.kill(pid, signal.SIGSTOP)
        try:
            handle = children.note_run.send(str(path))
            (run,) = until(lambda: _begun(first), "it is given to the child")
            until(lambda: time.monotonic() > run.owned_until, "the hold ends")
            with second:
                handle.get(timeout=60)
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: not len(first._in_flight), "the child has answered")
    assert path.read_text().split() != [str(pid)]
    assert len(path.read_text().split()) == 1


def _begun(worker):
    return [run for run in worker._in_flight.all() if run.began is not None]


def test_a_task_whose_hold_ends_while_its_child_gets_ready_does_not_begin(children, tmp_path, monkeypatch):
    app, path, prepare, lost = children.app, tmp_path / "runs", Slot.prepare, []
    hurry(app)

    def lose_hold(slot, task):
        prepare(slot, task)
        (run,) = worker._in_flight.all()
        run.owned_until = 0.0
        lost.append(run.id)
        monkeypatch.setattr(Slot, "prepare", prepare)

    monkeypatch.setattr(Slot, "prepare", lose_hold)
    worker = app.worker(concurrency=1)
    with worker:
        handle = children.note_run.send(str(path))
        handle.get(timeout=60)
    assert len(path.read_text().split()) == 1
    assert handle.record().run not in lost, "it was released, and started once more"
    assert handle.record().starts == 1


# How much a worker holds


def test_no_worker_hoards_while_another_idles(make_app, url):
    busy, go = Log(), threading.Event()
    apps = [make_app(url, concurrency=4) for _ in range(2)]
    for name, app in zip("ab", apps, strict=True):
        app.task(name="work")(_working(busy, name))
        app.task(name="long")(_waiting(busy, name, go))
    with apps[0].worker():
        handles = apps[0].send_many([apps[0].signature("work", 0.0) for _ in range(300)])
        for handle in handles:  # so that it has learnt to take many at once
            handle.get(timeout=60)
        busy.clear()
        with apps[1].worker():
            slow = apps[0].send_many([apps[0].signature("long") for _ in range(24)])
            busy.wait_for(8)
            assert Counter(busy.notes) == {"a": 4, "b": 4}, "each runs as many as it can"
            go.set()
            for handle in slow:
                handle.get(timeout=60)


def test_a_worker_with_a_loop_too_takes_no_more_for_its_threads_than_they_can_run(make_app, url):
    busy, go = Log(), threading.Event()
    apps = [make_app(url, concurrency=2, loop_concurrency=100) for _ in range(2)]
    for name, app in zip("ab", apps, strict=True):
        app.task(name="long")(_waiting(busy, name, go))
        app.task(name="async")(_sleep_long)
    slow = apps[0].send_many([apps[0].signature("long") for _ in range(16)])
    with apps[0].worker() as first:
        busy.wait_for(2)
        with apps[1].worker():
            busy.wait_for(4)
            assert Counter(busy.notes) == {"a": 2, "b": 2}, "each runs as many as it can"
            assert len(first._in_flight) <= 2 + 8, "it holds what it can run, and a few to look through at the most"
            go.set()
            for handle in slow:
                handle.get(timeout=60)
                assert len(first._in_flight) <= 2 + 8, "as before"


def test_coroutines_run_while_all_threads_are_busy(make_app, url):
    app = make_app(url, concurrency=2)
    started, go = threading.Semaphore(0), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.release()
        happened(go, "it may end")

    @app.task(name="quick")
    async def quick() -> int:
        return 1

    with app.worker():
        app.send_many([app.signature("long") for _ in range(2)])
        for _ in range(2):
            assert started.acquire(timeout=10)
        assert app.send(app.signature("quick")).get(timeout=60) == 1
        go.set()


def _working(busy, name):
    def work(seconds: float) -> None:
        busy.note(name)
        threading.Event().wait(seconds)

    return work


def _waiting(busy, name, go):
    def long() -> None:
        busy.note(name)
        happened(go, "it may end")

    return long


def test_what_waits_behind_a_long_task_runs_elsewhere(make_app, url):
    busy, go = Log(), threading.Event()
    apps = [make_app(url, concurrency=1) for _ in range(2)]
    for name, app in zip("ab", apps, strict=True):
        app.task(name="work")(_working(busy, name))
        app.task(name="long")(lambda: happened(go, "the long one may end"))
    worker = apps[0].worker()
    for prefetch in worker._flow_control.prefetch.values():
        prefetch.window = lambda _stalled: 50  # as after many short ones
    with worker:
        apps[0].send(apps[0].signature("long"))
        until(lambda: len(worker._in_flight) == 1, "the long one is taken")
        handles = apps[0].send_many([apps[0].signature("work", 0.0) for _ in range(10)])
        until(lambda: len(worker._in_flight) >= 5, "some wait behind it")
        with apps[1].worker():
            for handle in handles:
                handle.get(timeout=60)
        go.set()
    assert Counter(busy.notes)["b"] >= 9


def test_tasks_of_a_blueprint_and_chunks_of_them_run_in_child_processes(children):
    """The child imports the module that includes the blueprint, too."""
    cube = children.pool_library.cube
    with children.app.worker():
        assert children.app.send(cube.si(3)).get(timeout=60) == 27
        assert cube.chunks([(1,), (2,)], 2).send().get(timeout=60) == [[1, 8]]
