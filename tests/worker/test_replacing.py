"""Tasks that continue with a workflow: its result is theirs, once, whatever dies in between."""

import threading
from typing import Any

import pytest

from drivetrain import App, State, TaskCancelled, TaskFailed, Unique, chain, chord, current_task, group, hookimpl
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.workflow.advance import Open
from support.waiting import until


def _replacing(app, name="first"):
    """A task that continues with the workflow that is put into the list that this returns."""
    wanted: list[Any] = []

    @app.task(name=name)
    def first(x: int) -> Any:
        return current_task().replace(wanted[0])

    return wanted


def _args(log, task):
    return [note[1] if len(note) == 2 else note[1:] for note in log.notes if note[0] == task]


WORKFLOWS = {
    "a signature": (lambda app: app.signature("add", 1, 2), 3),
    "a chain": (lambda app: chain(app.signature("add", 1, 2), app.signature("add", 10)), 13),
    "a group": (lambda app: group(app.signature("value", n) for n in range(3)), [0, 1, 2]),
    "a chord": (lambda app: chord([app.signature("value", n) for n in range(3)], app.signature("total")), 3),
    "an empty group": (lambda app: group(), []),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_caller_gets_the_result_of_the_replacement(app, name):
    make, expected = WORKFLOWS[name]
    _replacing(app).append(make(app))
    handle = app.send(app.signature("first", 1))
    with app.worker():
        assert handle.get(timeout=60) == expected
        assert app.result(handle.id).get(timeout=60) == expected
    assert handle.state() is State.SUCCESS


def test_a_chain_goes_on_with_the_result_of_the_replacement(app, log):
    _replacing(app).append(app.signature("add", 1, 2))
    handle = app.send(chain(app.signature("first", 1), app.signature("add", 10), app.signature("add", 100)))
    with app.worker():
        assert handle.get(timeout=60) == 113
    assert len(_args(log, "add")) == 3


def test_a_long_chain_goes_on_with_the_result_of_replacements_at_both_ends(app, log):
    _replacing(app).append(chain(app.signature("value", 1), *(app.signature("value") for _ in range(50))))
    far = [app.signature("add", 1) for _ in range(70)]
    handle = app.send(chain(app.signature("first", 1), *far, app.signature("first"), *far))
    with app.worker():
        assert handle.get(timeout=120) == 71
    assert len(_args(log, "add")) == 140


def test_a_chord_counts_a_replaced_member_once_and_with_the_result_of_its_replacement(app, log):
    _replacing(app).append(chord([app.signature("value", 1), app.signature("value", 2)], app.signature("total")))
    header = [app.signature("first", 1), app.signature("value", 10), app.signature("first", 2)]
    handle = app.send(chord(header, app.signature("total")))
    with app.worker():
        assert handle.get(timeout=60) == 16
    assert len(_args(log, "total")) == 3


def test_a_replacement_may_be_replaced(app):
    _replacing(app, "second").append(chain(app.signature("add", 1, 2), app.signature("add", 4)))
    _replacing(app).append(app.signature("second", 1))
    handle = app.send(chain(app.signature("first", 1), app.signature("add", 100)))
    with app.worker():
        assert handle.get(timeout=60) == 107


def test_callbacks_get_the_result_of_the_replacement(app, log):
    _replacing(app).append(app.signature("add", 1, 2))
    done = app.signature("value")
    handle = app.send(app.signature("first", 1).set(on_success=[done]))
    with app.worker():
        assert handle.get(timeout=60) == 3
        until(lambda: _args(log, "value"), "the callback ran")
    assert _args(log, "value") == [3]


def test_the_task_fails_with_its_replacement_and_the_error_callbacks_run_once(app, log):
    _replacing(app).append(chain(app.signature("value", 1), app.signature("broken")))
    first = app.signature("first", 1).set(on_error=[app.signature("caught")])
    handle = app.send(chain(first, app.signature("value")).set(on_error=[app.signature("caught")]))
    with app.worker():
        with pytest.raises(TaskFailed, match="it is broken"):
            handle.get(timeout=60)
        until(lambda: len(_args(log, "caught")) == 2, "both error callbacks ran")
    failures = _args(log, "caught")
    assert {failure.task for failure in failures} == {"broken"}


def test_what_replaces_a_task_is_checked_like_what_is_sent(app):
    _replacing(app).append(app.signature("add", "one"))
    with app.worker(), pytest.raises(TaskFailed, match="missing argument 'y'"):
        app.send(app.signature("first", 1)).get(timeout=60)


def test_a_replacement_that_is_not_returned_is_an_error_of_the_task(app):
    @app.task(name="forgetful")
    def forgetful() -> None:
        current_task().replace(app.signature("value", 1))

    with app.worker(), pytest.raises(TaskFailed, match="write return current_task"):
        app.send(app.signature("forgetful")).get(timeout=60)


def test_unique_tasks_and_the_tasks_own_id_are_refused(app):
    app.task(name="lonely", unique=Unique())(lambda: None)
    wanted = _replacing(app)
    wanted.append(app.signature("lonely"))
    with app.worker():
        with pytest.raises(TaskFailed, match="lonely is unique"):
            app.send(app.signature("first", 1)).get(timeout=60)
        wanted[:] = [app.signature("value", 1).set(task_id="mine")]
        with pytest.raises(TaskFailed, match="that of the replaced task"):
            app.send(app.signature("first", 1).set(task_id="mine")).get(timeout=60)


def test_an_async_task_can_be_replaced(app):
    @app.task(name="swift")
    async def swift() -> Any:
        return current_task().replace(app.signature("value", 5))

    with app.worker():
        assert app.send(app.signature("swift")).get(timeout=60) == 5


def test_a_task_in_a_child_process_can_be_replaced(children):
    with children.app.worker():
        assert children.replaced.send(6).get(timeout=60) == 36


def test_cancelling_the_task_cancels_its_replacement_too(app):
    began, release = threading.Event(), threading.Event()

    @app.task(name="slow")
    def slow() -> None:
        began.set()
        release.wait(60)

    _replacing(app).append(chain(app.signature("slow"), app.signature("value")))
    handle = app.send(app.signature("first", 1))
    with app.worker():
        assert began.wait(60)
        assert handle.state() is State.RETRY
        assert "slow" in str(handle.waits_for().blockers[0].task)
        (step,) = app.operations.workflow(handle.id).steps
        assert [one.task for one in step.replacement] == ["slow", "value"]
        assert app.result(handle.id).cancel()
        assert [app.result(one.id).state() for one in step.replacement] == [State.CANCELLED] * 2
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)
        release.set()


def test_the_tree_of_a_workflow_shows_the_replacement_from_any_of_its_tasks(app):
    _replacing(app).append(chain(app.signature("value", 1), app.signature("add", 1)))
    handle = app.send(chain(app.signature("first", 1), app.signature("value")))
    with app.worker():
        handle.get(timeout=60)
    trees = [app.operations.workflow(handle.id)]
    trees += [app.operations.workflow(one.id) for one in trees[0].steps[0].replacement]
    for tree in trees:
        assert [step.task for step in tree.steps] == ["first", "value"]
        assert [one.task for one in tree.steps[0].replacement] == ["value", "add"]


@pytest.mark.parametrize("announced", [False, True], ids=["recorded", "sent"])
def test_a_worker_that_dies_after_the_record_sends_the_replacement_once(make_app, url, log, monkeypatch, announced):
    """It dies when the record says RETRY: before it has sent the replacement, or before it has acknowledged."""
    app = make_app(url, lease_seconds=0.3)
    _replacing(app).append(group(app.signature("value", n) for n in range(3)))
    handle = app.send(chain(app.signature("first", 1), app.signature("total")))
    finish, perform = Acknowledger.finish, EffectRunner.perform
    died = []

    def dies_before_it_acknowledges(self, results):
        if any(result.replacement for result in results) and not died:
            died.append(True)
            return
        finish(self, results)

    def dies_before_it_sends(self, effects, known=None):
        effects = list(effects)
        if any(isinstance(effect, Open) for effect in effects) and not died and not announced:
            return
        perform(self, effects, known)

    monkeypatch.setattr(Acknowledger, "finish", dies_before_it_acknowledges)
    monkeypatch.setattr(EffectRunner, "perform", dies_before_it_sends)
    with app.worker():
        assert handle.get(timeout=60) == 3
    assert died
    assert _args(log, "total") == [[0, 1, 2]]
    assert sorted(_args(log, "value")) == [0, 1, 2]


def test_counts_and_observers_see_a_run_that_has_succeeded_and_no_retry(make_app, memory_url):
    ends = []

    class Watches:
        @hookimpl
        def task_retrying(self, event, failure, delay_seconds):
            ends.append("retrying")

        @hookimpl
        def task_succeeded(self, event, run_seconds):
            ends.append(event.task)

    app = make_app(memory_url, plugins=[Watches()])
    _replacing(app).append(app.signature("value", 1))
    handle = app.send(app.signature("first", 1))
    with app.worker():
        handle.get(timeout=60)
        until(lambda: len(ends) == 2, "both runs were observed")
    assert ends == ["first", "value"]


def test_replacements_need_no_backend(make_app, memory_url, log):
    app = App(memory_url, "null://", concurrency=2)
    seen = []
    app.task(name="last")(seen.append)
    app.task(name="three")(lambda: 3)
    _replacing(app).append(app.signature("three"))
    app.send(chain(app.signature("first", 1), app.signature("last")))
    with app, app.worker():
        until(lambda: seen == [3], "the last task ran")
