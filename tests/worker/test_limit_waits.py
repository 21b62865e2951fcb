"""What operators and plugins see of tasks that wait for limits."""

import json
import threading

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from drivetrain import App, Concurrency, QueueSection, Rate, State, hookimpl
from drivetrain.cli.program import main
from drivetrain.contract import LimitWait, Message, evolve
from drivetrain.testing import VirtualTime
from drivetrain.worker.limits.waits import WaitingFor, begin_wait, ended_waits, waiting_of
from drivetrain.worker.publisher import LIMITED_HEADER
from support.waiting import until


class Waits:
    """Notes what the hooks say about waits."""

    def __init__(self):
        self.started = []
        self.ended = []

    @hookimpl
    def limited_tasks_started(self, events):
        self.started += [(event.task_id, event.limit_waits) for event in events]

    @hookimpl
    def tasks_ended(self, events):
        self.ended += [(event.task_id, event.limit_waits) for event in events]


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
def app(url, waits):
    with App(url, plugins=[waits]) as app:
        yield app


def rounded(noted):
    return [(task_id, [(wait.limit, round(wait.seconds)) for wait in found]) for task_id, found in noted]


def test_a_wait_for_a_rate_is_told_by_its_name_and_never_by_its_key(app, waits):
    @app.task(name="job", limits=[Rate("api:{user}", 1, per=30)])
    def job(user: str) -> None: ...

    with VirtualTime(app) as clock:
        first, second, third = app.send_many([app.signature("job", "ada") for _ in range(3)])
        clock.run_for(minutes=2)
        expected = [(second.id, [("api:{user}", 30)]), (third.id, [("api:{user}", 60)])]
        assert rounded(waits.started) == expected
        assert rounded(waits.ended) == [(first.id, []), *expected]


def test_a_wait_for_a_place_ends_with_the_start(app, waits):
    @app.task(name="job", limits=[Concurrency("tenant:{tenant}", 1)])
    def job(tenant: str) -> None: ...

    with VirtualTime(app) as clock:
        app.send(app.signature("job", "ada"))
        holding = app.worker()
        runs = holding._receiver.start(holding._receive_now())
        second = app.send(app.signature("job", "ada"))
        app.worker().drain()
        clock._clock.turn(20)
        holding._stages._place_releaser.release_runs(runs)
        app.worker().drain()
        assert second.state() is State.SUCCESS
        assert rounded(waits.started) == [(second.id, [("tenant:{tenant}", 20)])]


def test_waits_for_several_limits_are_told_one_after_the_other(app, waits):
    @app.task(name="job", limits=[Rate("fast", 1, per=10), Rate("slow", 1, per=40)])
    def job() -> None: ...

    with VirtualTime(app) as clock:
        _, second = app.send_many([app.signature("job") for _ in range(2)])
        clock.run_for(minutes=2)
        assert rounded(waits.started) == [(second.id, [("fast", 10), ("slow", 30)])]


def test_what_a_message_says_of_other_limits_is_ignored():
    message = Message(id="1", queue="q", body=b"", headers={})
    header, since = begin_wait(message, "known", 10.0)
    assert since == 10.0
    message = evolve(message, headers={LIMITED_HEADER: header})
    header, since = begin_wait(message, "other", 12.0)
    assert since == 12.0
    message = evolve(message, headers={LIMITED_HEADER: header})
    assert ended_waits(message, {"known"}, 15.0) == (LimitWait("known", 2.0),)
    assert ended_waits(message, {"known", "other"}, 15.0) == (LimitWait("known", 2.0), LimitWait("other", 3.0))
    for text in ("", "x", "[1]", '["a", "b"]', "{}", '["known", 1, [["x"]]]'):
        broken = evolve(message, headers={LIMITED_HEADER: text})
        assert ended_waits(broken, {"known"}, 15.0) == ()
        assert waiting_of(broken) is None


def test_what_a_record_says_can_be_read_again():
    waiting = WaitingFor(limit="a", since=1.5, key="a:1", number=3)
    assert WaitingFor.load(json.loads(json.dumps(waiting.dump()))) == waiting
    assert WaitingFor.load(None) is None
    assert WaitingFor.load({"limit": "a"}) is None
    assert WaitingFor.load({**waiting.dump(), "later": 1}) == waiting


def run(app, *words):
    outcome = CliRunner().invoke(main, [*words, "--broker", app.settings.broker, "--backend", app.settings.backend])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.output
    return outcome.output


def test_operators_see_which_limit_a_task_in_line_waits_for(app):
    gate = threading.Event()

    @app.task(name="job", limits=[Concurrency("tenant:{tenant}", 1)])
    def job(tenant: str) -> None:
        gate.wait(60)

    with app.worker():
        first = app.send(app.signature("job", "ada"))
        until(lambda: first.state() is State.STARTED, "the first one runs")
        waiting = []
        for number in (1, 2, 3):
            waiting.append(app.send(app.signature("job", "ada")))
            until(lambda number=number: delayed(app) == number, "it stands in line")
        [blocker] = waiting[2].waits_for().blockers
        assert (blocker.limit.limit, blocker.limit.key, blocker.limit.ahead) == ("tenant:{tenant}", "tenant:ada", 2)
        assert blocker.limit.since <= app.runtime.clock.now()
        assert "waits for limit 'tenant:{tenant}' (key 'tenant:ada') since" in str(blocker)
        assert "with 2 tasks before it" in str(waiting[2].waits_for())
        assert "first in line" in str(waiting[0].waits_for())
        assert first.waits_for().blockers[0].limit is None

        found = {task.task_id: task.limit for task in app.operations.find(state=State.PENDING).tasks}
        assert {one.id: found[one.id].ahead for one in waiting} == {one.id: n for n, one in enumerate(waiting)}
        queued = app.operations.tasks("default", QueueSection.DELAYED)
        assert sorted(task.limit.ahead for task in queued) == [0, 1, 2]
        if app.settings.broker.startswith("sqlite"):
            check_commands(app, waiting[1])
        gate.set()
        for handle in waiting:
            handle.get(timeout=60)
            assert str(handle.waits_for()) == ""


def delayed(app):
    return app.operations.sizes()["default"].delayed


def check_commands(app, handle):
    """Commands of another process see the same."""
    assert "with 1 task before it" in run(app, "result", handle.id)
    [blocker] = json.loads(run(app, "result", handle.id, "--json"))["waits_for"]
    assert blocker["limit"]["ahead"] == 1
    assert "FAILURE, OR LIMIT" in run(app, "tasks", "state:waiting")
    [task] = json.loads(run(app, "tasks", f"id:{handle.id}", "--json"))["tasks"]
    assert (task["limit"]["limit"], task["limit"]["key"], task["limit"]["ahead"]) == (
        "tenant:{tenant}",
        "tenant:ada",
        1,
    )
    assert "with 1 task before it" in run(app, "inspect")


def test_operators_see_until_when_a_task_waits_for_a_rate(app):
    app.task(name="call", limits=[Rate("stripe", 1, per=100)])(lambda: None)
    with VirtualTime(app) as clock:
        _, handle = app.send_many([app.signature("call") for _ in range(2)])
        now = clock._clock.now()
        clock.run_ready()
        [blocker] = handle.waits_for().blockers
        assert (blocker.limit.limit, blocker.limit.ahead) == ("stripe", None)
        assert blocker.limit.until == pytest.approx(now + 100, abs=1)
        assert str(blocker.limit).startswith("waits for limit 'stripe' since ")
        assert "starts at" in str(blocker)
        [queued] = app.operations.tasks("default", QueueSection.DELAYED)
        assert replace(queued.limit, key="stripe") == blocker.limit
        clock.run_for(minutes=2)
        assert handle.state() is State.SUCCESS
