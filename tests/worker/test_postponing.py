"""Tasks that postpone themselves: no retry is used, the record is unfinished, and a deadline ends it."""

import time
from datetime import timedelta
from itertools import pairwise

import pytest

from drivetrain import Postpone, QueueSection, State, TaskExpired, TaskFailed, current_task, retry
from drivetrain.testing import VirtualTime
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.publisher import Publisher
from support.waiting import until


@pytest.mark.parametrize("pool", ["threads", "loop"])
def test_a_postponed_task_runs_later_as_the_same_attempt(make_app, url, pool):
    app, began = make_app(url), []

    def attempt() -> int:
        began.append((time.time(), current_task().attempt))
        if len(began) < 4:
            raise Postpone("not ready", after=timedelta(seconds=0.1))
        return len(began)

    async def attempt_async() -> int:
        return attempt()

    app.task(name="asking", retry=retry.never(), pool=pool)(attempt if pool == "threads" else attempt_async)
    with app.worker():
        handle = app.send(app.signature("asking"))
        until(lambda: handle.state() is State.RECEIVED, "its state says that it waits")
        assert handle.get(timeout=60) == 4
    assert {attempt for _, attempt in began} == {0}
    assert all(later - earlier >= 0.1 for (earlier, _), (later, _) in pairwise(began))


def test_a_postponed_task_shows_its_due_time_and_holds_no_slot(app):
    @app.task(name="asking", pool="threads")
    def asking() -> None:
        raise Postpone(after=1000)

    with app.worker(concurrency=1):
        handle = app.send(app.signature("asking"))
        until(lambda: handle.state() is State.RECEIVED, "it is postponed")
        until(lambda: app.operations.sizes()["default"].in_flight == 0, "its first message is gone")
        assert app.send(app.signature("value", 5)).get(timeout=60) == 5
    (queued,) = app.operations.tasks("default", QueueSection.DELAYED)
    assert queued.task_id == handle.id
    assert 900 < queued.eta.timestamp() - time.time() < 1001


def test_postponing_has_a_deadline(app, log):
    @app.task(name="asking", retry=retry.fixed(0))
    def asking() -> None:
        log.note("run")
        raise Postpone("the shop is closed", after=3600, within=timedelta(hours=2.5))

    with VirtualTime(app) as clock:
        handle = app.send(app.signature("asking"))
        clock.run_for(hours=2.4)
        assert log.notes == ["run"] * 3
        clock.run_for(days=1)
        with pytest.raises(TaskFailed, match="the shop is closed"):
            handle.get(timeout=0)
    assert log.notes == ["run"] * 4, "the last run is at the deadline itself"


def test_the_setting_bounds_postponing(make_app, url):
    app, ran = make_app(url, postpone_limit_seconds=10), []

    @app.task(name="asking")
    def asking() -> None:
        ran.append(1)
        raise Postpone(after=6)

    with VirtualTime(app) as clock:
        handle = app.send(app.signature("asking"))
        clock.run_for(days=1)
        with pytest.raises(TaskFailed):
            handle.get(timeout=0)
    assert len(ran) == 3  # at 0 s, at 6 s, and at the deadline


def test_a_postponed_task_may_expire_or_be_cancelled(app):
    @app.task(name="asking")
    def asking() -> None:
        raise Postpone(after=60)

    with VirtualTime(app) as clock:
        expiring = app.send(app.signature("asking").set(expires=30))
        cancelled = app.send(app.signature("asking"))
        clock.run_ready()
        assert cancelled.state() is State.RECEIVED
        assert app.cancel(cancelled.id)
        clock.run_for(minutes=5)
        with pytest.raises(TaskExpired):
            expiring.get(timeout=0)
        assert cancelled.state() is State.CANCELLED


@pytest.mark.parametrize("step", [(Releaser, "_record_released"), (Publisher, "publish_later")])
def test_a_worker_that_dies_while_it_postpones_loses_nothing(app, monkeypatch, step):
    """The message is delivered again, and the task postpones itself again."""
    ran = []

    @app.task(name="asking")
    def asking() -> int:
        ran.append(1)
        if len(ran) < 3:
            raise Postpone(after=1)
        return len(ran)

    with VirtualTime(app) as clock:
        handle = app.send(app.signature("asking"))
        with monkeypatch.context() as patch:
            patch.setattr(*step, _die)
            with pytest.raises(SystemExit):
                app.worker().drain()
        clock.run_for(minutes=5)  # the hold of the dead worker ends
        clock.run_for(minutes=5)
        assert handle.get(timeout=0) == 3


def _die(*_args, **_kwargs):
    raise SystemExit


@pytest.mark.parametrize("wrong", [{"after": -1}, {"after": float("nan")}, {"after": 1, "within": -1}])
def test_a_wrong_postpone_is_refused(wrong):
    with pytest.raises(ValueError, match="Postpone"):
        Postpone(**wrong)
