"""A service that is away for a call: before it is done, or after it is done with the reply lost. At every call."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from uuid import uuid4

import pytest

from drivetrain import App, TaskFailed, chain, chord, current_task, group, retry
from support.faults import Fault, Faults, Moment, hurry, let_fail
from support.waiting import Log


def make_app(place, log, lease_seconds):
    app = App(f"memory://{place}", f"memory://{place}", lease_seconds=lease_seconds, concurrency=2)

    def note():
        task = current_task()
        log.note(task.task, task.task_id, task.attempt)

    @app.task(name="value")
    def value(number: int) -> int:
        note()
        return number

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        note()
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        note()
        return sum(numbers)

    @app.task(name="flaky", retry=retry.fixed(0.01, max_retries=2))
    def flaky(number: int) -> int:
        note()
        if current_task().attempt == 0:
            raise ConnectionError("not yet")
        return number

    @app.task(name="broken")
    def broken(*_: int) -> int:
        note()
        raise ValueError("always")

    hurry(app)
    return app


def sign(app, task, *args):
    return app.signature(task, *args)


def one(app):
    return sign(app, "value", 5), 5, 1


def a_chain(app):
    return chain(sign(app, "value", 1), sign(app, "add", 10), sign(app, "add", 100)), 111, 3


def a_retry(app):
    return chain(sign(app, "flaky", 7), sign(app, "add", 1)), 8, 3


def a_chord(app):
    return chord(group(sign(app, "add", n, n) for n in (1, 2, 3)), sign(app, "total")), 12, 4


def a_group_in_a_chain(app):
    members = group(sign(app, "add", n) for n in (1, 2))
    return chain(sign(app, "value", 1), members, sign(app, "total"), sign(app, "add", 100)), 105, 5


def a_failing_chord(app):
    header = group(sign(app, "broken", 1), sign(app, "value", 2))
    caught = sign(app, "total").set(task_id="never")
    return chain(header, caught, sign(app, "add", 1)), TaskFailed, 2


WORKFLOWS = [one, a_chain, a_retry, a_chord, a_group_in_a_chain, a_failing_chord]


def play(workflow, side, faults, *, lease_seconds=30.0):
    """Send and run a workflow while ``faults`` strike one side; check how it ends."""
    log, place = Log(), uuid4().hex
    with make_app(place, log, lease_seconds) as sender, make_app(place, log, lease_seconds) as worker_app:
        let_fail(sender if side == "sender" else worker_app, faults)
        wanted, expected, runs = workflow(worker_app)
        with worker_app.worker():
            handle = sender.send(wanted)
            check(handle, expected)
            log.wait_for(runs, "runs")
        ran = Counter(log.notes)
        assert len(ran) == runs, ran
        assert set(ran.values()) == {1}, f"ran twice: {ran}"
        assert_all_ended(sender, handle)


def check(handle, expected):
    if isinstance(expected, type):
        with pytest.raises(expected, match="always"):
            handle.get(timeout=60)
    else:
        assert handle.get(timeout=60) == expected


def assert_all_ended(app, handle):
    records = app._services.with_retries("read", lambda: app.runtime.backend.read(handle._parts))
    states = [record.state for record in records]
    assert all(state.terminal for state in states), states


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("side", ["worker", "sender"])
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.__name__)
def test_an_outage_at_any_call_changes_nothing(workflow, side, moment):
    baseline = Faults()
    play(workflow, side, baseline)
    calls = [(method, nth) for method, count in baseline.calls.items() for nth in range(1, count + 1)]
    assert calls

    def sweep(call):
        fault = Fault(*call, moment)
        try:
            # A lost delivery comes again when its hold ends; otherwise nobody is to lose a lease on a busy machine.
            play(workflow, side, Faults(fault), lease_seconds=1.0 if fault.method == "receive" else 30.0)
        except BaseException as error:
            error.add_note(str(fault))
            raise

    with ThreadPoolExecutor(8) as players:
        list(players.map(sweep, calls))


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("side", ["worker", "sender"])
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.__name__)
def test_short_outages_of_a_service_change_nothing(workflow, side, moment):
    def play_with(seed):
        play(workflow, side, Faults(share=0.3, moment=moment, random=Random(seed)))

    with ThreadPoolExecutor(4) as players:
        list(players.map(play_with, range(4)))
