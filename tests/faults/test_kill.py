"""SIGKILL of a worker process between every two steps: nothing lost, results right, nothing finished runs again."""

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest
from attrs import frozen

from drivetrain import State, chain, chord, group
from drivetrain_contract_tests.workflows.killed_worker import STEPS
from support import killing
from support.clocks import Ahead

#: For the second worker an hour has passed: what the first one held is free.
LATER = 3600.0
#: Worker options that let tasks come in small batches.
PATIENT = json.dumps({"prefetch_limit": 1})


@frozen
class Story:
    """A workflow, where in it the worker is killed, and what it gives."""

    make: object
    result: object
    #: The task that comes to the step.
    task_id: str
    #: What is published after it; for the steps around publishing.
    publishes: str | None = None
    #: The attempt at which it is killed, from 1.
    nth: int = 1
    #: Whether what is published was published by the sender once before.
    others: frozenset = frozenset()


def sign(app, task, *args, task_id):
    return app.signature(task, *args).set(task_id=task_id)


def members(app, number=3):
    return [sign(app, "add", n, n, task_id=f"m{n}") for n in range(1, number + 1)]


def callback(app):
    return app.tasks["total"] and sign(app, "total", task_id="total")


def plain(app):
    return sign(app, "add", 1, 2, task_id="a")


def retried(app):
    return sign(app, "flaky", 7, task_id="r")


def chained(app):
    return chain(
        sign(app, "value", 1, task_id="a"), sign(app, "add", 10, task_id="b"), sign(app, "add", 100, task_id="c")
    )


def chorded(app):
    return chord(group(members(app)), callback(app))


def chorded_and_more(app):
    return chord(group(members(app)), callback(app)) | sign(app, "add", 100, task_id="after")


def forked(app):
    first = sign(app, "value", 1, task_id="a")
    return chain(first, group(sign(app, "add", n, task_id=f"m{n}") for n in (1, 2)), callback(app))


STORIES = {
    "plain": Story(plain, 3, "a"),
    "retry": Story(retried, 7, "r", publishes="r"),
    "retried": Story(retried, 7, "r", nth=2),
    "chain": Story(chained, 111, "b", publishes="c"),
    "chord's last member": Story(chorded, 12, "m3", publishes="total"),
    "chord's callback": Story(chorded_and_more, 112, "total", publishes="after"),
    "fork in a chain": Story(forked, 5, "a", publishes="m1"),
}

CASES = [
    pytest.param(story, step, id=f"{name}-{step}")
    for name, story in STORIES.items()
    for step in STEPS
    if story.publishes is not None or "publish" not in step
]


def kill_a_worker(database, runs, story, step):
    """Let a worker process work until it kills itself."""
    if "publish" in step:
        where = {"step": step, "task_id": story.publishes, "nth": 1}
    else:
        where = {"step": step, "task_id": story.task_id, "nth": story.nth}
    worker = subprocess.run(
        [sys.executable, killing.__file__, str(database), str(runs), json.dumps(where)],
        timeout=30,
        check=False,
        capture_output=True,
    )
    assert worker.returncode == -signal.SIGKILL, f"it was not killed: {worker.stderr.decode()[-2000:]}"


@pytest.mark.parametrize(("story", "step"), CASES)
def test_a_killed_worker_loses_nothing_and_repeats_nothing_finished(story, step, tmp_path):
    database, runs = tmp_path / "work.db", killing.Runs(tmp_path / "runs")
    with killing.make_app(database, runs.path) as app:
        handle = app.send(story.make(app))
    kill_a_worker(database, runs.path, story, step)
    with killing.make_app(database, runs.path, clock=Ahead(LATER)) as app:
        handle = app.result(handle.id)
        before = Counter(runs.read())
        finished = finished_attempts(app, before)
        with app.worker():
            assert handle.get(timeout=60) == story.result
        after = Counter(runs.read())
    for run, count in after.items():
        again = count - before[run]
        assert again == (0 if run in finished else 1), f"{run} ran {again} times after the kill; before: {before}"
    assert before[story.task_id, story.nth - 1] == (0 if step in {"received", "started"} else 1)


def finished_attempts(app, runs):
    """Those of ``runs`` whose end was recorded before the kill."""
    finished = set()
    for task_id, attempt in runs:
        record = app.result(task_id).record()
        if record.state.terminal or record.attempt > attempt or (record.state is State.RETRY):
            finished.add((task_id, attempt))
    return finished


def test_workers_that_are_killed_again_and_again_lose_nothing(tmp_path):
    """Many tasks and workflows, five workers one after the other, each killed somewhere on its way."""
    database, runs = tmp_path / "work.db", killing.Runs(tmp_path / "runs")
    with killing.make_app(database, runs.path) as app:
        handles = app.send_many([workflow(app, number) for number in range(30)])
    finished = Counter()
    for turn, step in enumerate(("ran", "recorded", "followed_up", "acknowledged", "started")):
        where = {"step": step, "task_id": None, "nth": 6}
        clock_ahead = str(LATER * turn)
        worker = subprocess.run(
            [sys.executable, killing.__file__, str(database), str(runs.path), json.dumps(where), PATIENT, clock_ahead],
            timeout=30,
            check=False,
            capture_output=True,
        )
        assert worker.returncode == -signal.SIGKILL, worker.stderr.decode()[-2000:]
        with killing.make_app(database, runs.path) as app:
            now = Counter(runs.read())
            for run, count in finished.items():
                assert now[run] == count, f"{run} had finished before worker {turn} and ran again"
            finished = Counter({run: now[run] for run in finished_attempts(app, now)})
    with killing.make_app(database, runs.path, clock=Ahead(LATER * 6)) as app, app.worker():
        for number, handle in enumerate(handles):
            assert app.result(handle.id).get(timeout=60) == number + 110
    now = Counter(runs.read())
    assert all(now[run] == count for run, count in finished.items())
    assert len(now) == 90


def workflow(app, number):
    return chain(
        sign(app, "value", number, task_id=f"a{number}"),
        sign(app, "add", 10, task_id=f"b{number}"),
        sign(app, "add", 100, task_id=f"c{number}"),
    )
