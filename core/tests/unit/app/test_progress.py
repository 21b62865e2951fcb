"""Progress of tasks and workflows, by the id of their result alone."""

import asyncio
import pickle

import pytest

from drivetrain import App, NotSupported, Progress, Retry, UnknownResult, chain, chord, current_task, group
from drivetrain.testing import VirtualTime
from drivetrain.worker.progress import progress_key


@pytest.fixture
def app():
    app = App("memory://")

    @app.task(name="one")
    def one(*_values):
        return 1

    @app.task(name="bad")
    def bad(*_values):
        raise ValueError("bad")

    with VirtualTime(app) as app.time:
        yield app


def named(app, name, task_id, **options):
    return app.signature(name).set(task_id=task_id, **options)


def run_one(app):
    """Run the next task that is ready."""
    worker = app.worker(concurrency=1)
    (run,) = worker._receiver.start(worker._receive_now())
    worker._finisher.settle([worker._run_now(run)])


def progress_of(app, task_id):
    return app.result(task_id).progress()


def test_a_task(app):
    app.send(named(app, "one", "a"))
    assert progress_of(app, "a") == (0, 1)
    app.time.run_ready()
    assert progress_of(app, "a") == (1, 1)


def test_a_group_counts_its_members(app):
    app.send(group([named(app, "one", f"m{number}") for number in range(3)]).set(group_id="g"))
    assert progress_of(app, "g") == (0, 3)
    run_one(app)
    assert progress_of(app, "g") == (1, 3)
    app.time.run_ready()
    assert progress_of(app, "g") == (3, 3)


def test_a_chord_counts_its_members_and_not_its_callback(app):
    app.send(chord([named(app, "one", f"m{number}") for number in range(3)], named(app, "one", "z")))
    assert progress_of(app, "z") == (0, 3)
    for done in (1, 2, 3, 3):
        run_one(app)
        assert progress_of(app, "z") == (done, 3)


def test_a_chain_counts_its_tasks(app):
    app.send(chain([named(app, "one", f"c{number}") for number in range(250)]))
    for done in range(3):
        assert progress_of(app, "c249") == (done, 250)
        run_one(app)
    assert progress_of(app, "c4") == (3, 5)
    assert progress_of(app, "c0") == (1, 1)
    app.time.run_ready()
    assert progress_of(app, "c249") == (250, 250)


def test_a_group_in_a_chain_counts_its_members(app):
    members = group([chain(named(app, "one", "m"), named(app, "one", "n")), named(app, "one", "o")]).set(group_id="g")
    app.send(chain(named(app, "one", "a"), members, named(app, "one", "z")))
    seen = []
    for _ in range(5):
        seen.append([progress_of(app, task_id) for task_id in ("a", "g", "n", "z")])
        run_one(app)
    assert seen == [
        [(0, 1), (0, 3), (0, 2), (0, 4)],
        [(1, 1), (1, 3), (0, 2), (1, 4)],
        [(1, 1), (1, 3), (1, 2), (1, 4)],
        [(1, 1), (2, 3), (1, 2), (2, 4)],
        [(1, 1), (3, 3), (2, 2), (3, 4)],
    ]
    assert progress_of(app, "z") == (4, 4)


def test_what_a_failure_ends_has_ended(app):
    app.send(chain(named(app, "bad", "a"), named(app, "one", "b"), group([named(app, "one", "m")]).set(group_id="g")))
    app.time.run_ready()
    assert progress_of(app, "g") == (3, 3)


def test_callbacks_have_a_progress_of_their_own(app):
    then = chain(named(app, "one", "s"), named(app, "one", "t"))
    app.send(chain(named(app, "one", "a", on_success=[then]), named(app, "one", "b")))
    run_one(app)
    run_one(app)
    assert progress_of(app, "t") == (1, 2)


def test_steps_that_have_expired_have_ended(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b"), named(app, "one", "c", delay=3600)))
    app.time.run_ready()
    app.runtime.backend.forget(["b"])
    assert progress_of(app, "c") == (2, 3)


@pytest.mark.parametrize("way", ["function", "bar"])
def test_get_shows_the_progress_of_any_result(app, way, capsys):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b")))
    app.time.run_ready()
    seen = []
    report = True if way == "bar" else (lambda done, total: seen.append((done, total)))
    assert app.result("b").get(0, progress=report) == 1
    assert seen == [(2, 2)] if way == "function" else "2/2" in capsys.readouterr().err
    with pytest.raises(TypeError, match="use a function"):
        app.result("b").get(0, progress="yes")


# What tasks report


def test_a_task_reports_its_progress(app):
    seen = []

    @app.task(name="long")
    def long():
        task = current_task()
        for done in (0, 3, 5):
            task.progress(done, 10, f"row {done}")
            seen.append(app.result(task.task_id).progress())

    handle = long.send()
    app.time.run_ready()
    assert seen == [(0, 10), (3, 10), (5, 10)]
    assert seen[-1].note == "row 5"
    assert str(seen[-1]) == "5 of 10: row 5"
    assert handle.progress() == (1, 1)
    assert not app.runtime.backend.list_values("progress/", limit=1).values, "the report goes with the end"


def test_only_the_run_that_holds_the_task_counts(app):
    @app.task(name="long")
    def long():
        task = current_task()
        if task.attempt == 0:
            task.progress(7, 10)
            raise Retry(after=60)
        seen.append(app.result(task.task_id).progress())
        task.progress(1, 10)
        seen.append(app.result(task.task_id).progress())

    seen = []
    handle = long.send()
    app.time.run_ready()
    assert handle.progress() == (0, 1)
    app.time.run_for(minutes=2)
    assert seen == [(0, 1), (1, 10)]


def test_reports_that_make_no_sense_are_logged_and_harm_nothing(app, caplog):
    @app.task(name="long")
    def long():
        for done, total in ((-1, 10), (float("nan"), 1), ("a", 1), (1, None), (1, float("inf"))):
            current_task().progress(done, total)
        current_task().progress(1, 2, "x" * 1000)
        return len(app.result(current_task().task_id).progress().note)

    handle = long.send()
    app.time.run_ready()
    assert handle.get(0) == 200
    assert caplog.text.count("both must be numbers of 0 or more") == 5


def test_a_report_that_cannot_be_read_counts_as_none(app):
    @app.task(name="long")
    def long():
        task = current_task()
        task.progress(1, 2)
        key = progress_key(task.task_id, task.run.id)
        from drivetrain.contract import ValueWrite

        app.runtime.backend.write_values([ValueWrite(key=key, value=b"{}")])
        return list(app.result(task.task_id).progress())

    handle = long.send()
    app.time.run_ready()
    assert handle.get(0) == [0, 1]


def test_a_report_after_the_end_changes_nothing(app):
    kept = []

    @app.task(name="long")
    def long():
        kept.append(current_task())

    handle = long.send()
    app.time.run_ready()
    kept[0].progress(1, 10)
    assert handle.progress() == (1, 1)
    assert not app.runtime.backend.list_values("progress/", limit=1).values


def test_a_backend_that_cannot_be_written_fails_no_task(app, monkeypatch, caplog):
    def away(_writes):
        raise RuntimeError("a driver's mistake")

    @app.task(name="long")
    def long():
        current_task().progress(1, 2)
        return 3

    handle = long.send()
    monkeypatch.setattr(app.runtime.backend, "write_values", away)
    app.time.run_ready()
    assert handle.get(0) == 3
    assert "unexpected error while writing the progress of tasks" in caplog.text


# Following


def test_changes_can_be_followed(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b")))
    seen = []
    for change in app.result("b").progress_changes():
        seen.append(change)
        run_one(app) if change.done < 2 else None
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_changes_can_be_followed_in_coroutines(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b")))
    app.time.run_ready()

    async def follow():
        return [change async for change in app.result("b").progress_changes()]

    assert asyncio.run(follow()) == [(2, 2)]


def test_following_ends_with_the_time(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b")))
    assert list(app.result("b").progress_changes(timeout=3)) == [(0, 2)]


def test_a_success_is_complete_in_the_unit_of_the_task(app):
    @app.task(name="long")
    def long():
        current_task().progress(400, 500)
        seen.append(next(changes))

    handle = long.send()
    seen, changes = [], iter(handle.progress_changes())
    seen.append(next(changes))
    app.time.run_ready()
    assert [*seen, *changes] == [(0, 1), (400, 500), (500, 500)]


def test_an_unknown_result_has_no_progress(app):
    with pytest.raises(UnknownResult):
        progress_of(app, "x")


def test_without_a_backend_there_is_no_progress():
    with pytest.raises(NotSupported, match="no progress"):
        App("memory://", "null://").result("x").progress()


def test_a_progress_is_a_pair():
    progress = Progress(3, 4, "half an hour")
    done, total = progress
    assert (done, total) == progress == (progress.done, progress.total) == (3, 4)
    assert pickle.loads(pickle.dumps(progress)).note == "half an hour"
