"""Machinery's weaknesses that no other test of ours asks about (section 3 of its reference).

docs/from-machinery.md names the test of each of them, W1 to W50.
"""

import logging
import subprocess
import sys
import textwrap
import threading
from random import Random

import pytest

from drivetrain import App, ConfigurationError, TaskFailed, current_task, retry
from drivetrain.contract import ServiceUnavailable, SystemClock
from drivetrain.worker.retrying import GaveUp, Retrier
from support.faults import Faults, let_fail
from support.waiting import Log, until

WAIT = 60.0
EACH = pytest.mark.parametrize("pair", ["memory", "sqlite", "redis"])


@EACH
def test_two_thousand_delayed_tasks_are_promoted_in_batches(make, pair):
    """W12: counted in calls, not in seconds. Machinery promotes one for each poll."""
    app = make(pair, concurrency=8)
    let_fail(app, counted := Faults())
    handles = app.send_many(app.same.s(n).set(delay=0.3) for n in range(2000))
    with app.worker():
        assert [handle.get(timeout=WAIT) for handle in handles] == list(range(2000))
    assert counted.calls["receive"] < 1000, "it receives in batches"
    assert counted.calls["record"] < 2000
    assert counted.calls["acknowledge"] < 1000


def test_a_sender_that_exits_takes_no_delayed_task_along(tmp_path):
    """W19: the broker has it when ``send`` returns, not the sender."""
    url = f"sqlite:///{tmp_path}/work.db"
    sender = f"""
        import os
        from drivetrain import App
        app = App({url!r})
        app.send(app.signature("same", "here").set(delay=0.2, task_id="kept"))
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(sender)], check=True, timeout=60)
    with App(url) as app:
        app.task(name="same")(lambda value: value)
        with app.worker():
            assert app.result("kept").get(timeout=WAIT) == "here"


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"loop_concurrency": 0}, {"lease_seconds": 0}])
def test_a_worker_that_could_do_nothing_is_refused(options):
    """W21: no value means "for ever" on one broker and "never" on another."""
    [(name, value)] = options.items()
    with App("memory://") as app, pytest.raises(ConfigurationError, match=f"{name} is {value}; it must be"):
        app.worker(**options)


class Turning(SystemClock):
    """Nobody really waits: it notes for how long."""

    def __init__(self):
        self.pauses = []

    def wait_event(self, event, timeout):
        self.pauses.append(timeout)
        return event.is_set()


def test_retries_in_an_outage_have_a_bounded_rate_and_back_off_is_reset_by_a_success(caplog):
    """W26: pauses grow to a bound, are said in the log, and are short again after the service was back."""
    clock = Turning()
    retrier = Retrier(clock)
    failing = iter([*(True for _ in range(20)), False, True, False])

    def ping():
        if next(failing):
            raise ServiceUnavailable("the service is away")
        return "pong"

    assert retrier.call("ping", ping) == "pong"
    first, last = clock.pauses[0], clock.pauses[-1]
    assert len(clock.pauses) == 20
    assert first <= 0.05
    assert 5.0 <= last <= 10.0
    assert caplog.text.count("the service is away; retrying in") == 20
    assert retrier.call("ping", ping) == "pong"
    assert clock.pauses[-1] <= 0.05


def test_retries_end_when_the_worker_is_stopped():
    """W26, W28: also for ever is not longer than that."""
    stop = threading.Event()
    stop.set()

    def away():
        raise ServiceUnavailable("away")

    with pytest.raises(GaveUp):
        Retrier(Turning(), give_up=stop).call("ping", away)


@EACH
def test_what_has_not_ended_is_listed(make, pair):
    """W29: with its name, attempt and state, where the backend can list."""
    app = make(pair)
    begun, end = threading.Event(), threading.Event()

    @app.task(name="held")
    def held() -> None:
        begun.set()
        assert end.wait(WAIT)

    with app.worker():
        handle = held.send()
        assert begun.wait(WAIT)
        # The listing may lag behind the start by a moment: what is recorded is in a batch.
        [record] = until(app.operations.unfinished, "it is listed")
        assert (record.task_id, record.task, record.state, record.attempt) == (handle.id, "held", "STARTED", 0)
        end.set()
        handle.get(timeout=WAIT)
    assert app.operations.unfinished() == []


@EACH
def test_one_worker_serves_several_queues_the_most_urgent_first(make, pair):
    """W29: and urgent tasks of a queue first, where the broker has priorities."""
    app, log = make(pair), Log()

    @app.task(name="noted")
    def noted(what: str) -> None:
        log.note(what)

    levels = app.runtime.broker.capabilities.priority_levels
    assert levels > 1
    for what, options in (
        ("low", {"queue": "low"}),
        ("plain", {"queue": "high"}),
        ("urgent", {"queue": "high", "priority": levels - 1}),
    ):
        noted.s(what).set(**options).send()
    app.worker(queues=["high", "low"], concurrency=1).drain()
    assert log.notes == ["urgent", "plain", "low"]


def test_a_creation_time_is_fixed_and_delays_have_jitter_and_a_cap(make):
    """W42."""
    app = make("memory")
    policy = retry.exponential(base=1, cap=8, jitter=0.5, max_retries=50)
    made = app.runtime.retry_policy(policy.policy, policy.parameters)
    random = Random(1)
    delays = [made.delay_seconds(number, random) for number in range(1, 50)]
    assert max(delays) <= 8
    assert len(set(delays)) > 40, "no two alike"

    @app.task(name="again", retry=retry.fixed(0.01, max_retries=2))
    def again() -> int:
        record = app.result(current_task().task_id).record()
        began.append(record.history[next(iter(record.history))].at)
        if current_task().attempt < 2:
            raise ConnectionError
        return 0

    began = []
    # Behind another task of a chain it has a record from when it was sent.
    handle = app.send(app.same.s(1) | again.si())
    with app.worker():
        assert handle.get(timeout=WAIT) == 0
    assert len(began) == 3
    assert len(set(began)) == 1


def test_no_argument_and_no_secret_is_logged(make, caplog):
    """W49: at no level, when it is sent, run, retried and failed."""
    caplog.set_level(logging.DEBUG)
    app = make("memory")

    @app.task(name="quiet", retry=retry.fixed(0.01, max_retries=1))
    def quiet(password: str) -> int:
        raise ConnectionError("the service refused")

    with app.worker(), pytest.raises(TaskFailed):
        quiet.send("hunter2").get(timeout=WAIT)
    assert "the service refused" in caplog.text
    assert "hunter2" not in caplog.text


def test_headers_reach_the_task_and_every_observer(make):
    """W50: so a trace context travels; who reads and writes it is a plugin of yours, for none is shipped."""
    from drivetrain import hookimpl

    class Tracer:
        seen = Log()

        @hookimpl
        def task_started(self, event):
            self.seen.note("worker", event.headers["traceparent"])

        @hookimpl
        def before_publish(self, messages):
            for message in messages:
                self.seen.note("sender", message.headers["traceparent"])

    app = make("memory", plugins=[Tracer()])
    with app.worker():
        app.same.s(1).set(headers={"traceparent": "00-ab-cd-01"}).send().get(timeout=WAIT)
        notes = Tracer.seen.wait_for(2)
    assert sorted(notes) == [("sender", "00-ab-cd-01"), ("worker", "00-ab-cd-01")]
