"""Workflows run by a real worker, compared to the interpreter: results, runs, callbacks, failures in place."""

from collections import Counter
from typing import Any

import pytest
from attrs import define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivetrain import App, Failure, TaskFailed, chain, chord, current_task, group, retry
from drivetrain.workflow.signature import Chain, Group, Signature
from support.faults import hurry
from support.waiting import Log, until

# Written by hand first: what a user would write.


def test_nested_workflows(app):
    s = app.signature
    plus = [
        (chain(s("value", 1), s("add", 2), s("add", 3)), 6),
        (group(s("value", n) for n in range(5)), [0, 1, 2, 3, 4]),
        (chord([s("add", n, n) for n in range(4)], s("total")), 12),
        (chain(s("value", 1), group(s("add", 1), s("add", 2))), [2, 3]),
        (chain(s("value", 1), group(s("add", 1), s("add", 2)), s("total"), s("add", 10)), 15),
        (group(), []),
        (chain(group(), s("total")), 0),
        (chain(s("value", 1), group(), s("total")), 0),
        (group(group(s("value", 1)), group(), chain(s("value", 2), s("add", 1))), [[1], [], 3]),
        (chain(s("value", 9), app_si(app, "value", 1), s("add", 1)), 2),
        (chord([chord([s("value", 1), s("value", 2)], s("total")), s("value", 4)], s("total")), 7),
        (chain(group(s("value", 1), s("value", 2)), group(s("total"), s("value"))), [3, [1, 2]]),
        (group(group(group(s("value", 1)))), [[[1]]]),
    ]
    handles = app.send_many([workflow for workflow, _ in plus])
    with app.worker():
        for handle, (workflow, expected) in zip(handles, plus, strict=True):
            assert handle.get(timeout=60) == expected, workflow


def app_si(app, task, *args):
    return Signature(task=task, args=args, immutable=True)


def test_a_failed_member_ends_the_callback_at_once_and_names_the_origin(app, log):
    body = app.signature("total").set(task_id="total")
    slow = app.signature("value", 1).set(delay=600)
    handle = app.send(chord([app.signature("broken", 1).set(task_id="guilty"), slow], body | app.signature("value")))
    with app.worker():
        for waiting in (handle, app.result("total"), app.result("guilty")):
            with pytest.raises(TaskFailed, match="it is broken") as raised:
                waiting.get(timeout=60)
            assert raised.value.failure.task_id == "guilty"
            assert raised.value.failure.task == "broken"
            assert raised.value.failure.type == "builtins.ValueError"
            assert "raise ValueError" in raised.value.failure.traceback
    assert log.notes == [("broken", 1)]


def test_a_group_that_collects_goes_on_with_failures_in_their_places(app, log):
    header = group(app.signature("value", 1), app.signature("broken", 2) | app.signature("add", 1)).set(
        on_member_failure="collect"
    )
    handle = app.send(header | app.signature("value"))
    with app.worker():
        first, second = handle.get(timeout=60)
    assert first == 1
    assert isinstance(second, Failure)
    assert second.task == "broken"
    assert second.args == (2,)


def test_callbacks_run_exactly_once(app, log):
    good = app.signature("value", 1).set(
        on_success=[app.signature("caught"), app.signature("value") | app.signature("add", 1)]
    )
    bad = app.signature("broken", 2).set(on_error=[app.signature("caught")], on_success=[app.signature("never")])
    retried = app.signature("flaky", 2).set(on_success=[app.signature("caught")], on_error=[app.signature("never")])
    with app.worker():
        app.send(good).get(timeout=60)
        app.send(retried).get(timeout=60)
        with pytest.raises(TaskFailed):
            app.send(bad).get(timeout=60)
        log.wait_for(10)
        until(lambda: idle(app), "nothing is left to do")
    ran = Counter(task for task, *_ in log.notes)
    assert ran == {"value": 2, "caught": 3, "add": 1, "broken": 1, "flaky": 3}
    (failure,) = [note[1] for note in log.notes if note[0] == "caught" and isinstance(note[1], Failure)]
    assert (failure.task, failure.type, failure.message, failure.attempt, failure.args) == (
        "broken",
        "builtins.ValueError",
        "it is broken",
        0,
        (2,),
    )


def test_error_callbacks_of_a_chain_and_a_group_run_once_for_each_failing_task(app, log):
    failing = chain(app.signature("value", 1), app.signature("broken"), app.signature("value"))
    handle = app.send(failing.set(on_error=[app.signature("caught")]))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        until(lambda: idle(app), "nothing is left to do")
    assert [note[0] for note in log.notes] == ["value", "broken", "caught"]


def test_results_of_a_group_come_as_they_complete_with_progress(app):
    handle = app.send(group(app.signature("value", n) for n in range(20)))
    told = []
    with app.worker():
        assert sorted(member.get() for member in handle.as_completed(timeout=10)) == list(range(20))
        assert handle.get(timeout=5, progress=lambda done, size: told.append((done, size))) == list(range(20))
    assert told[-1] == (20, 20)
    assert handle.done() == 20


def test_the_same_id_sent_twice_runs_once(make_app, url, log):
    app = make_app(url, lease_seconds=0.5)  # a second message of a running task is delayed for this time
    first = app.send(app.signature("value", 1).set(task_id="once"))
    second = app.send(app.signature("value", 1).set(task_id="once"))
    with app.worker():
        assert first.get(timeout=60) == second.get(timeout=60) == 1
        third = app.send(app.signature("value", 1).set(task_id="once"))
        assert third.get(timeout=60) == 1
        until(lambda: idle(app), "nothing is left to do")
    assert log.notes == [("value", 1)]


def test_a_message_that_comes_again_after_its_task_has_finished_is_not_run_again(make_app, url, log):
    app = make_app(url, lease_seconds=0.5)  # a second message of a running task is delayed for this time
    handle = app.send(app.signature("value", 1) | app.signature("add", 1))
    broker = app.runtime.broker
    (delivery,) = broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=60)
    broker.publish([delivery.message] * 3)
    broker.acknowledge([delivery])
    with app.worker():
        assert handle.get(timeout=60) == 2
        broker.publish([delivery.message] * 3)
        until(lambda: idle(app), "nothing is left to do")
    assert log.notes == [("value", 1), ("add", 1, 1)]


def test_a_message_of_an_earlier_attempt_that_comes_again_changes_nothing(make_app, url, log):
    app = make_app(url, lease_seconds=0.5)  # a second message of a running task is delayed for this time
    handle = app.send(app.signature("flaky", 2))
    broker = app.runtime.broker
    (delivery,) = broker.receive(["default"], limit=1, wait_seconds=5, hold_seconds=60)
    broker.publish([delivery.message] * 5)
    broker.acknowledge([delivery])
    with app.worker():
        assert handle.get(timeout=60) == 2
        until(lambda: idle(app), "nothing is left to do")
    assert log.notes == [("flaky", 0), ("flaky", 1), ("flaky", 2)]


def idle(app):
    sizes = app.runtime.broker.sizes(["default"])["default"]
    return sizes.ready == sizes.in_flight == sizes.delayed == 0


# Then whatever Hypothesis thinks of, against ten lines that say what a workflow means.


def signatures():
    return st.builds(
        Signature,
        task=st.sampled_from(["a", "b", "again", "fail"]),
        args=st.tuples(st.integers(0, 9)),
        immutable=st.booleans(),
        on_success=st.just(()) | st.just((Signature(task="then"),)),
        on_error=st.just(()) | st.just((Signature(task="caught"),)),
    )


def workflows():
    return st.recursive(
        signatures(),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=4).map(lambda parts: Chain(tuple(parts)))
            | st.builds(
                Group, st.lists(inner, max_size=4).map(tuple), on_member_failure=st.sampled_from(["fail", "collect"])
            )
        ),
        max_leaves=15,
    )


NOTHING, FAILED = object(), "failed"


def interpret(workflow, value, ran):
    """What the workflow gives, counting in ``ran`` what it runs."""
    if isinstance(workflow, Signature):
        args = workflow.args if workflow.immutable or value is NOTHING else (value, *workflow.args)
        ran[workflow.task, repr(args)] += 2 if workflow.task == "again" else 1
        if workflow.task == "fail":
            ran.update((then.task, repr((FAILED,))) for then in workflow.on_error)
            return FAILED
        result = [workflow.task, *args]
        ran.update((then.task, repr((result,))) for then in workflow.on_success)
        return result
    if isinstance(workflow, Chain):
        for index, part in enumerate(workflow.parts):
            if (value := interpret(part, value, ran)) == FAILED:
                ran.update(own_error_callbacks(workflow.parts[index + 1 :]))
                return FAILED
        return value
    results = [interpret(member, value, ran) for member in workflow.members]
    return FAILED if FAILED in results and workflow.on_member_failure == "fail" else results


def own_error_callbacks(abandoned):
    """What tasks that will never run, since one before them has failed, send all the same."""
    for workflow in abandoned:
        if isinstance(workflow, Signature):
            yield from ((then.task, repr((FAILED,))) for then in workflow.on_error)
        else:
            yield from own_error_callbacks(workflow.parts if isinstance(workflow, Chain) else workflow.members)


def plain(value):
    """A value with every failure in it written as the interpreter does."""
    if isinstance(value, Failure):
        return FAILED
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@define
class Stage:
    """An app with a real worker on ``memory://`` that runs one workflow after the other."""

    app: App
    log: Log

    def play(self, workflow):
        """What the workflow gives, and what ran."""
        self.log.clear()
        handle = self.app.send(workflow)
        try:
            result = plain(handle.get(timeout=60))
        except TaskFailed as error:
            result = FAILED if "meant to fail" in error.failure.message else error
        until(lambda: idle(self.app), "nothing is left to do")
        records = self.app.runtime.backend.read(handle._parts)
        assert all(record.state.terminal for record in records), "somebody would wait for ever"
        return result, Counter((task, repr(args)) for task, args in self.log.notes)


@pytest.fixture(scope="module")
def stage():

    app, log = App("memory://", "memory://", concurrency=4), Log()
    hurry(app)

    def note(args: Any) -> list[Any]:
        args = tuple(plain(list(args)))
        log.note(current_task().task, args)
        return [current_task().task, *args]

    for name in ("a", "b", "then", "caught"):
        app.task(name=name)(lambda *args: note(args))

    @app.task(name="again", retry=retry.fixed(0, max_retries=1))
    def again(*args):
        result = note(args)
        if current_task().attempt == 0:
            raise OSError
        return result

    @app.task(name="fail")
    def fail(*args):
        note(args)
        raise ArithmeticError("it is meant to fail")

    with app.worker():
        yield Stage(app, log)
    app.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workflow=workflows())
def test_a_worker_gives_what_the_interpreter_gives_and_runs_every_task_once(stage, workflow):
    ran = Counter()
    expected = interpret(workflow, NOTHING, ran)
    assert stage.play(workflow) == (expected, ran)
