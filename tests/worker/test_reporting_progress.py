"""Progress that tasks report, from each pool: how often it is written, and that no task harms another by it."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivetrain import Progress, TaskFailed, current_task
from drivetrain.contract import ServiceUnavailable
from support.waiting import until

WAIT = 60


def progress_of(handle, expected):
    """The progress of a handle, once it is the expected one."""
    until(lambda: handle.progress() == expected, f"progress {expected}")
    return handle.progress()


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def reports(app):
    return len(app.runtime.backend.list_values("progress/", limit=100).values)


def test_from_a_thread_that_the_task_has_started(app, gate):
    @app.task(name="long")
    def long() -> None:
        task = current_task()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: task.progress(3, 10, "in a thread")).result()
        gate.wait(WAIT)

    handle = app.send(app.signature("long"))
    with app.worker():
        assert progress_of(handle, (3, 10)).note == "in a thread"
        gate.set()
        handle.get(timeout=WAIT)
        assert handle.progress() == (1, 1)


def test_from_a_coroutine(app, gate):
    @app.task(name="long")
    async def long() -> None:
        current_task().progress(1, 2)
        while not gate.is_set():  # noqa: ASYNC110 - the test sets it from another thread
            await asyncio.sleep(0.01)

    handle = app.send(app.signature("long"))
    with app.worker():
        progress_of(handle, (1, 2))
        gate.set()
        handle.get(timeout=WAIT)


def test_from_a_child_process(children, tmp_path):
    handle = children.reports.send(str(tmp_path / "gate"))
    with children.app.worker():
        assert progress_of(handle, (1, 3)).note == "begun"
        progress_of(handle, (2, 3))
        (tmp_path / "gate").touch()
        assert handle.get(timeout=WAIT) == "done"
        assert handle.progress() == (1, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
def test_a_process_that_a_task_has_forked_reports_nothing(app, gate):
    @app.task(name="forks")
    def forks() -> int:
        task = current_task()
        task.progress(1, 10)
        child = os.fork()
        if not child:
            task.progress(9, 10)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        task.progress(2, 10)
        gate.wait(WAIT)
        return code

    handle = app.send(app.signature("forks"))
    with app.worker():
        progress_of(handle, (2, 10))
        gate.set()
        assert handle.get(timeout=WAIT) == 0


def test_a_thread_that_outlives_its_task_reports_nothing_of_it(app, gate):
    threads = []

    def go_on(task):
        while not gate.wait(0.001):
            task.progress(1, 10)

    @app.task(name="leaves")
    def leaves() -> None:
        threads.append(threading.Thread(target=go_on, args=(current_task(),)))
        threads[0].start()

    handle = app.send(app.signature("leaves"))
    with app.worker():
        handle.get(timeout=WAIT)
        assert app.send(app.signature("value", 1)).get(timeout=WAIT) == 1
        until(lambda: reports(app) == 0, "the report is removed")
        assert handle.progress() == (1, 1)
        gate.set()
        threads[0].join(WAIT)


def test_it_is_written_once_a_second_however_often_it_is_reported(memory_app, monkeypatch, gate):
    app, backend = memory_app, memory_app.runtime.backend
    written = []
    write = backend.write_values

    def write_values(writes):
        written.extend(one.value for one in writes if one.key.startswith("progress/"))
        return write(writes)

    monkeypatch.setattr(backend, "write_values", write_values)
    clock = app.runtime.clock

    @app.task(name="eager")
    def eager() -> float:
        began = clock.monotonic()
        for done in range(20_000):
            current_task().progress(done, 20_000)
        return clock.monotonic() - began

    handle = app.send(app.signature("eager"))
    with app.worker():
        took = handle.get(timeout=WAIT)
    assert len([value for value in written if value]) <= 2 + took
    assert reports(app) == 0


def test_a_backend_that_is_away_holds_up_no_task(memory_app, monkeypatch, gate, caplog):
    app, backend = memory_app, memory_app.runtime.backend
    write, away = backend.write_values, threading.Event()
    away.set()

    def write_values(writes):
        if away.is_set() and any(one.key.startswith("progress/") for one in writes):
            raise ServiceUnavailable("away")
        return write(writes)

    monkeypatch.setattr(backend, "write_values", write_values)

    @app.task(name="long")
    def long() -> None:
        current_task().progress(1, 2)
        gate.wait(WAIT)

    with app.worker():
        handle = app.send(app.signature("long"))
        until(lambda: "cannot write the progress of tasks: away" in caplog.text, "a warning")
        assert handle.progress() == (0, 1)
        away.clear()
        progress_of(handle, (1, 2))
        gate.set()
        handle.get(timeout=WAIT)
    assert reports(app) == 0


def test_a_time_limit_may_strike_while_a_task_reports(memory_app):
    """A lock that it held then would hold up every other task that reports."""
    app = memory_app

    @app.task(name="eager", timeout=0.01)
    def eager() -> None:
        task = current_task()
        while True:
            task.progress(1, 2)

    @app.task(name="calm")
    def calm() -> int:
        current_task().progress(1, 2)
        return 1

    with app.worker(concurrency=4):
        struck = app.send_many([app.signature("eager") for _ in range(60)])
        for handle in struck:
            with pytest.raises(TaskFailed, match="longer than its timeout"):
                handle.get(timeout=WAIT)
        assert [one.get(timeout=WAIT) for one in app.send_many([app.signature("calm")] * 20)] == [1] * 20
    assert reports(app) == 0


def test_progress_is_followed_by_other_processes(app, gate):
    @app.task(name="long")
    def long() -> None:
        current_task().progress(1, 4)
        gate.wait(WAIT)

    handle = app.send(app.signature("long"))

    async def follow():
        seen = []
        async for change in app.result(handle.id).progress_changes(timeout=WAIT):
            seen.append(change)
            if change == (1, 4):
                gate.set()
        return seen

    with app.worker():
        assert asyncio.run(follow())[-2:] == [(1, 4), (4, 4)]
    assert isinstance(handle.progress(), Progress)
