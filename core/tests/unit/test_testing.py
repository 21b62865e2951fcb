"""Virtual time: a long story of ETAs, retries and expiries, in a moment and with the history of real time."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from drivetrain import App, ResultTimeout, State, TaskExpired, chord, current_task, retry
from drivetrain.contract import Transition
from drivetrain.testing import VirtualClock, VirtualTime

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> App:
    return App("sqlite:///never-opened.db", result_retention_seconds=None)


def test_a_story_of_thirty_days_takes_a_moment(app):
    history: list[tuple[str, datetime]] = []

    @app.task(name="remind", queue="mails")
    def remind(name: str) -> None:
        history.append((name, time.now()))

    @app.task(name="flaky", retry=retry.fixed(3600, max_retries=3))
    def flaky() -> int:
        history.append(("flaky", time.now()))
        if current_task().attempt < 2:
            raise ConnectionError
        return current_task().attempt

    @app.task(name="total")
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    with VirtualTime(app, start=START) as time:
        late = remind.si("never").set(delay=timedelta(days=2), expires=timedelta(days=1)).send()
        remind.si("month").set(eta=START + timedelta(days=30)).send()
        remind.si("week").set(delay=timedelta(days=7)).send()
        result = chord([flaky.s(), flaky.s().set(delay=600)], total.s()).send()
        time.run_for(days=31)
        assert result.get() == 4
        with pytest.raises(TaskExpired):
            late.get()

    hour = timedelta(hours=1)
    first, second = START, START + timedelta(seconds=600)
    assert history == [
        ("flaky", first),
        ("flaky", second),
        ("flaky", first + hour),
        ("flaky", second + hour),
        ("flaky", first + 2 * hour),
        ("flaky", second + 2 * hour),
        ("week", START + timedelta(days=7)),
        ("month", START + timedelta(days=30)),
    ]


def test_nothing_runs_before_it_is_due(app):
    ran = []

    @app.task(name="note")
    def note() -> None:
        ran.append(time.now())

    with VirtualTime(app, start=START) as time:
        result = note.si().set(delay=10).send()
        assert time.run_for(seconds=9.999) == 0
        assert result.state() is State.PENDING
        assert time.run_for(seconds=0.001) == 1
        assert ran == [START + timedelta(seconds=10)]


def test_waiting_lets_time_pass_and_never_hangs(app):
    @app.task(name="note")
    def note() -> None: ...

    with VirtualTime(app, start=START) as time:
        result = note.send()
        with pytest.raises(ResultTimeout):
            result.get(timeout=5)
        assert time.now() == START + timedelta(seconds=5)
        with pytest.raises(RuntimeError, match="wait without end"):
            result.get()
        time.run_ready()
        assert result.get() is None


def test_awaiting_lets_time_pass_too_and_never_hangs(app):
    @app.task(name="note")
    def note() -> int:
        return 1

    async def within(seconds: float) -> None:
        await result.get_async(timeout=seconds)

    async def awaited() -> int:
        return await result

    with VirtualTime(app, start=START) as time:
        result = note.send()
        with pytest.raises(ResultTimeout):
            asyncio.run(within(5))
        assert (time.now() - START).total_seconds() == pytest.approx(5, abs=0.001)
        with pytest.raises(RuntimeError, match=r"wait without end.*the next task, note"):
            asyncio.run(awaited())
        time.run_ready()
        assert asyncio.run(awaited()) == 1


def test_virtual_time_begins_now(app):
    before = datetime.now(UTC)
    with VirtualTime(app) as time:
        assert before <= time.now() <= datetime.now(UTC)


def test_an_eta_by_the_real_clock_is_reached(app):
    ran = []

    @app.task(name="note")
    def note() -> None:
        ran.append(time.now())

    with VirtualTime(app) as time:
        eta = datetime.now(UTC) + timedelta(hours=1)
        note.s().set(eta=eta).send()
        time.run_for(hours=1, seconds=1)
        assert ran == [eta]


def test_the_error_of_an_endless_wait_names_the_next_due_task(app):
    @app.task(name="note")
    def note() -> None: ...

    with VirtualTime(app, start=START) as time:
        note.s().set(task_id="year", eta=START + timedelta(days=365)).send()
        month = note.s().set(task_id="month", eta=START + timedelta(days=30)).send()
        with pytest.raises(RuntimeError, match=r"task, note \(month\), is due at 2026-01-31 00:00:00\+00:00"):
            month.get()
        time.run_for(days=40)
        with pytest.raises(RuntimeError, match=r"task, note \(year\), is due at 2027-01-01 00:00:00\+00:00"):
            app.result("year").get()
        time.run_for(days=400)
        note.s().set(task_id="ready").send()
        with pytest.raises(RuntimeError, match=r"task, note \(ready\), is ready"):
            app.result("ready").get()
        time.run_ready()
        app.runtime.backend.record([Transition(task_id="nobody's", state=State.PENDING, at=0.0)])
        with pytest.raises(RuntimeError, match="no task is in any queue"):
            app.result("nobody's").get()


def test_the_app_is_as_before_afterwards(app):
    with VirtualTime(app):
        assert app.runtime.broker.capabilities.shared is False
    assert app.settings.broker == "sqlite:///never-opened.db"
    assert app.runtime.broker.capabilities.shared is True
    app.close()


def test_time_cannot_be_turned_back():
    clock = VirtualClock()
    with pytest.raises(ValueError, match="turned back"):
        clock.turn(-1)
    event = threading.Event()
    event.set()
    assert clock.wait_event(event, None)


def test_a_task_that_was_sent_twice_under_one_id_runs_once_and_time_goes_on(app):
    """The second message is put off until the first one's run must be over, and shows the ETA that it was sent with."""
    ran: list[datetime] = []

    @app.task(name="once")
    def once() -> None:
        ran.append(time.now())

    with VirtualTime(app, start=START) as time:
        for _ in range(2):
            app.send(once.s().set(task_id="the same", eta=START + timedelta(hours=1)))
        assert time.run_for(hours=2) == 1
        assert time.now() == START + timedelta(hours=2)
    assert ran == [START + timedelta(hours=1)]
