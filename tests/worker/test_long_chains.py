"""Long chains: messages carry the next steps, the backend stores the others, and nothing of them stays."""

import pytest

from drivetrain import State, TaskCancelled, TaskFailed, chain, chord, group
from drivetrain.contract import Durability, QueueSection
from drivetrain.worker import long_chains
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.workflow.wire import load_invocation
from support.faults import Changed, Fault, Faults, Moment, let_fail, rewire
from support.waiting import until

#: How many frames a part has here, and how many a message carries at most.
_PART, _MOST_FRAMES = 3, 6
#: Steps enough for three parts in the backend.
STEPS = _MOST_FRAMES + 2 * _PART + 1


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(long_chains, "_PART", _PART)
    monkeypatch.setattr(long_chains, "_MOST_FRAMES", _MOST_FRAMES)


class Measured(Changed):
    """A broker that notes how many frames each message carries."""

    def __init__(self, broker, load_body):
        super().__init__(broker, store=None)
        self._load_body = load_body
        self.frames = []

    def publish(self, messages):
        for message in messages:
            invocation = load_invocation(self._load_body(message.headers[CONTENT_TYPE_HEADER], message.body))
            self.frames.append(len(invocation.frames))
        self._driver.publish(messages)


@pytest.fixture
def measured(app):
    rewire(app, broker=Measured(app.runtime.broker, app.runtime.payloads.load_body))
    return app


def steps(app, number, *, name="step"):
    return [app.signature("add", 1).set(task_id=f"{name}-{index}") for index in range(number)]


def long_chain(app, number=STEPS, *, name="step"):
    return chain(app.signature("value", 0), *steps(app, number, name=name))


def bodies(app):
    return app.runtime.backend.counts()["bodies"]


def assert_nothing_stays(app):
    until(lambda: bodies(app) == 0, "the backend has dropped all parts")


def test_each_step_runs_once_and_no_message_carries_them_all(measured, log):
    app = measured
    handle = app.send(long_chain(app))
    assert bodies(app) == 3
    with app.worker():
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)
    assert log.notes == [("value", 0), *(("add", n, 1) for n in range(STEPS))]
    assert max(app.runtime.broker.frames) <= _MOST_FRAMES


@pytest.mark.parametrize("number", [_MOST_FRAMES, _MOST_FRAMES + 1, _MOST_FRAMES + _PART, _MOST_FRAMES + _PART + 1])
def test_chains_about_as_long_as_a_message_carries(app, number):
    handle = app.send(long_chain(app, number))
    with app.worker():
        assert handle.get(timeout=60) == number
        assert_nothing_stays(app)


def test_a_group_in_the_middle_and_one_at_the_end(measured):
    app = measured
    middle = chord(group([app.signature("add", n) for n in range(2)]), app.signature("total"))
    end = group([app.signature("add", n) for n in range(3)])
    handle = app.send(chain(app.signature("value", 0), *steps(app, STEPS), middle, *steps(app, STEPS, name="b"), end))
    with app.worker():
        wanted = 2 * STEPS + 1 + STEPS
        assert handle.get(timeout=60) == [wanted, wanted + 1, wanted + 2]
        assert_nothing_stays(app)


def test_long_branches_of_a_group(measured):
    app = measured
    branches = [long_chain(app, name=f"b{n}") for n in range(2)]
    handle = app.send(chord(group(branches), app.signature("total")))
    with app.worker():
        assert handle.get(timeout=60) == 2 * STEPS
        assert_nothing_stays(app)
    assert max(app.runtime.broker.frames) <= _MOST_FRAMES


@pytest.mark.parametrize("at", [0, _MOST_FRAMES, STEPS])
def test_a_failure_ends_all_that_follow_and_calls_their_error_callbacks(app, log, at):
    parts = [app.signature("value", 0), *steps(app, STEPS)]
    parts[at] = app.signature("broken")
    parts[-1] = app.signature("value").set(on_error=[app.signature("caught")]) if at < STEPS else parts[-1]
    handle = app.send(chain(*parts))
    with app.worker():
        with pytest.raises(TaskFailed, match="it is broken"):
            handle.get(timeout=60)
        assert_nothing_stays(app)
        if at < STEPS:
            until(lambda: any(note[0] == "caught" for note in log.notes), "the callback of the last step runs")
        assert handle.state() is State.FAILURE


def test_cancelling_the_first_step_cancels_the_last_one(app):
    handle = app.send(chain(app.signature("value", 0).set(task_id="first"), *steps(app, STEPS)))
    assert app.cancel("first")
    with pytest.raises(TaskCancelled):
        handle.get(timeout=60)
    with app.worker():
        assert_nothing_stays(app)


def test_cancelling_a_later_step_that_runs_reaches_the_last_one(app):
    handle = app.send(long_chain(app))
    running = f"step-{_PART}"

    @app.task(name="hold")
    def hold(x: int) -> int:
        app.cancel(running)
        return x

    parts = [app.signature("value", 0), *steps(app, STEPS, name="other")]
    parts[_PART] = app.signature("hold").set(task_id="holding")
    other = app.send(chain(*parts))
    running = "holding"
    with app.worker():
        with pytest.raises(TaskCancelled):
            other.get(timeout=60)
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("call", ["store_bodies", "load_bodies", "drop_bodies"])
def test_a_call_to_the_backend_that_fails_is_repeated(app, log, call, moment):
    let_fail(app, Faults(Fault(call, 1, moment)))
    handle = app.send(long_chain(app))
    with app.worker():
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)
    assert len(log.notes) == STEPS + 1


def test_a_dead_letter_keeps_its_parts_and_is_replayed_with_them(make_app, memory_url, log):
    app, fails = make_app(memory_url), [True]

    @app.task(name="once", dead_letter=True)
    def once(x: int) -> int:
        if fails:
            raise ValueError(fails.pop())
        return x

    handle = app.send(chain(app.signature("value", 0), app.signature("once"), *steps(app, STEPS)))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        letters = app.runtime.broker
        until(lambda: letters.peek("default", QueueSection.DEAD, limit=1), "the message is a dead letter")
        assert app.operations.replay("default") == 1
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)


def test_a_dropped_dead_letter_drops_its_parts(make_app, memory_url):
    app = make_app(memory_url)
    app.task(name="dead", dead_letter=True)(_fail)
    handle = app.send(chain(app.signature("dead"), *steps(app, STEPS)))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        until(lambda: app.runtime.broker.peek("default", QueueSection.DEAD, limit=1), "the message is a dead letter")
    assert bodies(app)
    assert app.operations.drop_dead_letters("default") == 1
    assert bodies(app) == 0


def _fail(*_args):
    raise ValueError("dead")


def test_an_operator_retries_a_failed_step_and_the_rest_follows(make_app, memory_url):
    app, fails = make_app(memory_url), [True]

    @app.task(name="once")
    def once(x: int) -> int:
        if fails:
            raise ValueError(fails.pop())
        return x

    parts = [app.signature("value", 0), app.signature("once").set(task_id="failed"), *steps(app, STEPS)]
    handle = app.send(chain(*parts))
    with app.worker():
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
        assert_nothing_stays(app)
        app.operations.retry("failed")
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)


def test_a_cache_and_a_backend_that_stores_nothing_get_all_frames_in_the_message(measured):
    app = measured
    rewire(app, backend=Changed(app.runtime.backend, durability=Durability.CACHE, store=None))
    handle = app.send(long_chain(app))
    with app.worker():
        assert handle.get(timeout=60) == STEPS
    assert max(app.runtime.broker.frames) == STEPS


def test_a_message_of_an_older_version_with_all_frames_is_run(measured):
    app = measured
    backend = app.runtime.backend
    rewire(app, backend=Changed(backend, durability=Durability.CACHE, store=None))
    handle = app.send(long_chain(app))
    assert app.runtime.broker.frames == [STEPS]
    rewire(app, backend=backend)
    with app.worker():
        assert handle.get(timeout=60) == STEPS
        assert_nothing_stays(app)
    assert max(app.runtime.broker.frames[1:]) <= _MOST_FRAMES


def test_a_lost_part_dead_letters_the_message_of_the_step_before_it(make_app, memory_url):
    app = make_app(memory_url)
    handle = app.send(long_chain(app))
    backend = app.runtime.backend
    rewire(app, backend=_Forgetful(backend, store=None))
    with app.worker():
        broker = app.runtime.broker
        until(lambda: broker.peek("default", QueueSection.DEAD, limit=1), "the message is a dead letter")
    (letter,) = broker.peek("default", QueueSection.DEAD, limit=2)
    assert "no longer has the rest of its chain" in letter.headers["drivetrain-dead-reason"]
    assert handle.state() is State.PENDING


class _Forgetful(Changed):
    def load_bodies(self, keys):
        return [None for _ in keys]
