"""ETAs, delays, retries and expiry: never early, as the policy says, exactly as often as it allows."""

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from drivetrain import Retry, State, TaskExpired, TaskFailed, chain, current_task, group, retry
from drivetrain.contract import Transition
from drivetrain.testing import VirtualTime
from support.faults import hoard
from support.waiting import happened, until


def test_no_task_starts_before_its_eta(app):
    started = {}

    @app.task(name="clock")
    def clock(due: float) -> None:
        started[due] = time.time()

    now = time.time()
    dues = [now + n / 100 for n in range(60)] + [now + 1e-6, now - 1, now - 1e6, 0.0]
    handles = [app.signature("clock", due).set(eta=datetime.fromtimestamp(due, UTC)) for due in dues]
    with app.worker():
        for handle in app.send_many(handles):
            handle.get(timeout=60)
    early = {due: began for due, began in started.items() if began < due - 1e-5}  # a datetime holds microseconds
    assert early == {}
    assert len(started) == len(dues)
    assert max(began - max(due, now) for due, began in started.items()) < 2


def test_a_task_that_is_due_in_a_year_waits_and_does_not_keep_others_waiting(app, log):
    late = app.send(app.signature("value", "late").set(delay=timedelta(days=365)))
    with app.worker():
        assert app.send(app.signature("value", 1)).get(timeout=60) == 1
    assert late.state() is State.PENDING
    assert log.notes == [("value", 1)]


def test_a_delay_within_a_chain_counts_from_when_it_is_its_turn(app):
    times = []
    app.task(name="now")(lambda *_: times.append(time.monotonic()))
    with app.worker():
        app.send(app.signature("now") | app.signature("now").set(delay=0.3)).get(timeout=60)
    assert 0.3 <= times[1] - times[0] < 2


POLICIES = {
    "fixed": (retry.fixed(0.15, max_retries=3), [0.15, 0.15, 0.15]),
    "intervals": (retry.intervals([0.05, 0.2, 0.1]), [0.05, 0.2, 0.1]),
    "exponential": (retry.exponential(base=0.05, jitter=0, max_retries=3), [0.05, 0.1, 0.2]),
    "capped": (retry.exponential(base=0.05, cap=0.07, jitter=0, max_retries=3), [0.05, 0.07, 0.07]),
}


@pytest.mark.parametrize(("policy", "delays"), POLICIES.values(), ids=POLICIES.keys())
def test_retries_come_as_their_policy_says(app, policy, delays):
    ended, began = [], []

    @app.task(name="failing", retry=policy)
    def failing() -> None:
        began.append(time.time())
        ended.append(time.time())
        raise OSError("again")

    with app.worker(), pytest.raises(TaskFailed, match="again") as raised:
        app.send(app.signature("failing")).get(timeout=60)
    assert raised.value.failure.attempt == len(delays)
    pauses = [begin - end for begin, end in zip(began[1:], ended, strict=False)]
    assert len(pauses) == len(delays)
    for pause, delay in zip(pauses, delays, strict=True):
        assert delay - 1e-4 <= pause < delay + 1.5


@pytest.mark.parametrize("allowed", [0, 1, 5])
def test_retries_are_exactly_as_many_as_allowed(app, allowed):
    attempts = []

    @app.task(name="failing", retry=retry.fixed(0, max_retries=allowed))
    def failing() -> None:
        attempts.append((current_task().attempt, current_task().retries_left))
        raise OSError("again")

    with app.worker(), pytest.raises(TaskFailed):
        app.send(app.signature("failing")).get(timeout=60)
    assert attempts == [(n, allowed - n) for n in range(allowed + 1)]


@pytest.mark.parametrize(
    ("policy", "error", "runs"),
    [
        (retry.fixed(0, retry_on=[OSError]), ConnectionError, 4),
        (retry.fixed(0, retry_on=[ConnectionError]), OSError, 1),
        (retry.fixed(0, give_up_on=[OSError]), ConnectionError, 1),
        (retry.fixed(0, give_up_on=[ConnectionError]), OSError, 4),
        (retry.fixed(0, retry_on=[OSError], give_up_on=[ConnectionError]), ConnectionError, 1),
        (retry.never(), OSError, 1),
    ],
)
def test_which_errors_are_retried(app, policy, error, runs):
    ran = []

    @app.task(name="failing", retry=policy)
    def failing() -> None:
        ran.append(1)
        raise error("no")

    with app.worker(), pytest.raises(TaskFailed):
        app.send(app.signature("failing")).get(timeout=60)
    assert len(ran) == runs


def test_a_task_requests_a_retry_with_a_delay(app):
    began = []

    @app.task(name="asking")
    def asking() -> int:
        began.append(time.time())
        if len(began) < 3:
            raise Retry("not ready", after=0.2)
        return len(began)

    with app.worker():
        handle = app.send(app.signature("asking"))
        until(lambda: handle.state() is State.RETRY, "its RETRY state is seen")
        assert handle.get(timeout=60) == 3
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(began))


def test_asking_for_another_try_has_an_end(make_app, url):
    app = make_app(url, retry_limit=4)
    ran = []

    @app.task(name="asking")
    def asking() -> None:
        ran.append(current_task().attempt)
        raise Retry(after=0)

    @app.task(name="asking.twice", retry=retry.fixed(9, max_retries=2, retry_on=[OSError]))
    def asking_twice() -> None:
        ran.append(current_task().attempt)
        raise Retry(after=0)

    with app.worker():
        for task, runs in (("asking", 5), ("asking.twice", 3)):
            ran.clear()
            with pytest.raises(TaskFailed, match="run again"):
                app.send(app.signature(task)).get(timeout=60)
            assert ran == list(range(runs))


def test_a_policy_that_breaks_fails_the_task_and_not_the_worker(app, monkeypatch):
    @app.task(name="failing", retry=retry.fixed(0))
    def failing() -> None:
        raise OSError("the task's own")

    handles = [app.send(app.signature("failing")) for _ in range(5)]
    for delay in (math.nan, -1.0, math.inf, "soon", ZeroDivisionError("policy")):
        monkeypatch.setattr("drivetrain.drivers.retries.Fixed.delay_seconds", _gives(delay), raising=True)
        handle = handles.pop()
        with app.worker(), pytest.raises(TaskFailed, match="the task's own"):
            handle.get(timeout=60)
        app.operations.purge("default")
        handles = [app.send(app.signature("failing")) for _ in handles]


def _gives(delay):
    def delay_seconds(*_):
        if isinstance(delay, Exception):
            raise delay
        return delay

    return delay_seconds


def test_an_expired_task_is_not_started_and_its_waiters_are_notified(app, log):
    first = app.signature("value", 1).set(expires=datetime.now(UTC) - timedelta(seconds=1))
    handle = app.send(chain(first, app.signature("add", 1)))
    grouped = app.send(group(app.signature("value", 2).set(expires=0.0), app.signature("value", 3)))
    in_time = app.send(app.signature("value", 4).set(expires=timedelta(hours=1)))
    with app.worker():
        for expired in (handle, grouped):
            with pytest.raises(TaskExpired, match="not started in time"):
                expired.get(timeout=60)
        assert in_time.get(timeout=60) == 4
        assert grouped.members[1].get(timeout=60) == 3
    assert ("value", 1) not in log.notes
    assert ("value", 2) not in log.notes


def test_a_retry_does_not_expire_once_it_was_started(app):
    @app.task(name="failing.once", retry=retry.fixed(0.3))
    def failing_once() -> int:
        if current_task().attempt == 0:
            raise OSError
        return current_task().attempt

    with app.worker():
        handle = app.send(app.signature("failing.once").set(expires=0.25))
        assert handle.get(timeout=60) == 1


def test_a_year_of_retries_and_etas_in_virtual_time(memory_app):
    app, ran = memory_app, []

    @app.task(name="yearly", retry=retry.fibonacci(max_retries=8))
    def yearly() -> int:
        ran.append(virtual.now())
        if current_task().attempt < 8:
            raise OSError
        return 1

    with VirtualTime(app) as virtual:
        began = virtual.now()
        handle = app.send(app.signature("yearly").set(delay=timedelta(days=365)))
        virtual.run_for(days=366)
        assert handle.get(timeout=1) == 1
    gaps = [(b - a).total_seconds() for a, b in zip([began, *ran], ran, strict=False)]
    assert gaps == pytest.approx([365 * 86400, 1, 2, 3, 5, 8, 13, 21, 34])


def test_a_task_that_expires_while_it_waits_in_its_worker_does_not_begin(make_app, url, log):
    app = make_app(url, concurrency=1)
    started, go = threading.Event(), threading.Event()

    @app.task(name="long")
    def long() -> None:
        started.set()
        happened(go, "it may end")

    worker = app.worker()
    hoard(worker, 10)
    with worker:
        app.send(app.signature("long"))
        happened(started, "it starts")
        handle = app.send(app.signature("value", 1).set(expires=0.2))
        until(lambda: handle.state() is State.STARTED, "it waits in the worker")
        sent = time.time()
        until(lambda: time.time() > sent + 0.2, "its time is over")
        go.set()
        with pytest.raises(TaskExpired):
            handle.get(timeout=60)
    assert log.notes == []


@pytest.mark.parametrize("states", [[State.STARTED], [State.STARTED, State.RETRY]], ids=["started", "to be retried"])
def test_a_task_that_was_started_in_time_does_not_expire_when_its_worker_has_died(app, log, states):
    handle = app.send(app.signature("value", 1).set(expires=0.2))
    late = app.send(app.signature("value", 2).set(expires=0.2))
    for state in states:
        step = Transition(task_id=handle.id, state=state, at=time.time(), run="a dead worker's", lease=0.05)
        assert app.runtime.backend.record([step])[0].applied
    sent = time.time()
    until(lambda: time.time() > sent + 0.2, "their time is over")
    with app.worker():
        assert handle.get(timeout=60) == 1
        with pytest.raises(TaskExpired):
            late.get(timeout=60)
    assert log.notes == [("value", 1)]
