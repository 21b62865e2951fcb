"""Concurrency limits: how many tasks run at once for all workers, in which order, and what a death leaves."""

import threading
import time
from contextlib import ExitStack

import pytest

from drivetrain import (
    App,
    Concurrency,
    InvalidSignature,
    NotSupported,
    QueueSection,
    Rate,
    State,
    TaskCancelled,
    current_task,
    retry,
)
from drivetrain.testing import VirtualTime
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.finishing.recording import ResultRecorder
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.limits.line_entries import LineEntries
from drivetrain.worker.limits.parked import AWAITED, LINE_PREFIX, SKIPPED, encode_parked
from drivetrain.worker.limits.places import PlaceKeeper
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.receiving.starting import Starter
from support.waiting import until


class Busy:
    """Counts how many tasks run at the same time, for each key."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running = {}
        self.most = {}
        self.order = []

    def __call__(self, key, number, seconds=0.01):
        with self._lock:
            self._running[key] = self._running.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self._running[key])
            self.order.append((key, number))
        threading.Event().wait(seconds)
        with self._lock:
            self._running[key] -= 1


@pytest.fixture
def busy():
    return Busy()


def work(app, number=2):
    """Workers that run until the context ends."""
    stack = ExitStack()
    for _ in range(number):
        stack.enter_context(app.worker())
    return stack


def line(app):
    """The keys of parked tasks, without the marks of numbers: two workers at one number may leave one behind.

    It keeps the number from a worker that stores its message too late. See the test that it ends by itself.
    """
    stored = app.runtime.backend.list_values(LINE_PREFIX, limit=1000).values
    return [key for key, one in stored if one.value not in {AWAITED, SKIPPED}]


def waiting(app):
    return sum(sum(limit.waiting.values()) for limit in app.limits.list())


def test_no_more_tasks_run_than_allowed_and_all_run(app, busy):
    @app.task(name="job", limits=[Concurrency("tenant:{tenant}", 2)])
    def job(tenant: str, number: int) -> int:
        busy(tenant, number)
        return number

    with work(app):
        handles = app.send_many([app.signature("job", tenant, n) for n in range(30) for tenant in "ab"])
        assert [handle.get(timeout=60) for handle in handles] == [n for n in range(30) for _ in "ab"]
        until(lambda: line(app) == [], "nothing is parked any more")
    assert busy.most == {"a": 2, "b": 2}


def test_tasks_of_one_key_run_in_the_order_in_which_they_came(app, busy):
    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(number: int) -> None:
        busy("one", number)

    with work(app):
        first = app.send(app.signature("job", 0))
        until(lambda: first.state() is not State.PENDING, "the first one has begun")
        handles = []
        for number in range(1, 15):
            handles.append(app.send(app.signature("job", number)))
            # In this order: what begins in between is missed once, and not counted twice.
            until(lambda number=number: len(busy.order) + waiting(app) > number, "it waits or runs")
        for handle in handles:
            handle.get(timeout=60)
    assert busy.order == [("one", number) for number in range(15)]
    assert busy.most == {"one": 1}


@pytest.mark.parametrize("limits", [1, 2])
def test_a_task_keeps_its_turn_while_its_worker_is_slow_to_store_its_message(app, monkeypatch, limits):
    """The place becomes free, and a later task comes, between the two writes of the one that waits first."""
    order = []

    @app.task(name="job", limits=[Concurrency("one", 1), Concurrency("two:{number}", 1)][:limits])
    def job(number: int) -> None:
        order.append(number)

    with VirtualTime(app) as clock:
        app.send(app.signature("job", 0))
        first = app.worker()
        runs = first._receiver.start(first._receive_now())
        handles = [app.send(app.signature("job", 1))]
        store = LineEntries.store

        def late(entries, messages):
            monkeypatch.undo()
            handles.append(app.send(app.signature("job", 2)))
            app.worker().drain()  # the later task stands behind it
            first._stages._place_releaser.release_runs(runs)
            app.worker().drain()
            return store(entries, messages)

        monkeypatch.setattr(LineEntries, "store", late)
        app.worker().drain()
        clock.run_ready()
        assert order == [1, 2]
        assert line(app) == []
        assert all(handle.state() is State.SUCCESS for handle in handles)


def test_the_mark_of_a_number_ends_by_itself(memory_app):
    with VirtualTime(memory_app) as clock:
        backend = memory_app.runtime.backend
        entries = LineEntries(backend.read_values, backend.write_values, None)
        assert entries.first([("tenant:a", 7)]) == [AWAITED]
        entries.abandon([("tenant:a", 8)])
        stored = backend.list_values(LINE_PREFIX, limit=9).values
        assert [one.value for _, one in stored] == [AWAITED, SKIPPED]
        clock.run_for(hours=1)
        assert list(backend.list_values(LINE_PREFIX, limit=9).values) == []


def test_a_number_that_is_given_up_holds_nobody_up(app, monkeypatch):
    """A task is decided again, and waits in another line. Meanwhile a place is freed for its first number."""
    ran = []
    left, right = Concurrency("left", 1), Concurrency("right", 1)
    for name, limits in (("left", [left]), ("right", [right]), ("both", [left, right])):
        app.task(name=name, limits=limits)(lambda name=name: ran.append(name))

    def begin(name):
        app.send(app.signature(name))
        worker = app.worker()
        return worker, worker._receiver.start(worker._receive_now())

    with VirtualTime(app) as clock:
        holder, runs = begin("right")
        app.send(app.signature("both"))
        store, abandon = PlaceKeeper._store, LineEntries.abandon

        def after_another(keeper, lines):
            monkeypatch.setattr(PlaceKeeper, "_store", store)
            begin("left")
            return store(keeper, lines)

        given_up = []

        def late(entries, numbers):
            given_up.extend(key for key, _ in numbers)
            app.send(app.signature("right"))
            app.worker().drain()
            holder._stages._place_releaser.release_runs(runs)
            abandon(entries, numbers)

        monkeypatch.setattr(PlaceKeeper, "_store", after_another)
        monkeypatch.setattr(LineEntries, "abandon", late)
        app.worker().drain()
        monkeypatch.undo()
        clock.run_ready()
        assert (given_up, ran) == (["right"], ["right"])


def test_a_message_that_is_stored_just_before_its_place_is_free_gets_it(app, monkeypatch):
    """Its worker has seen no free place yet, and the one that frees the place has seen no message."""
    order = []

    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(number: int) -> None:
        order.append(number)

    with VirtualTime(app) as clock:
        app.send(app.signature("job", 0))
        first = app.worker()
        runs = first._receiver.start(first._receive_now())
        app.send(app.signature("job", 1))
        store_message, store_places = LineEntries.store, PlaceKeeper._store

        def store_both(entries, messages):
            def store(keeper, lines):
                monkeypatch.undo()
                assert store_message(entries, messages) == (list(messages), [])
                return store_places(keeper, lines)

            monkeypatch.setattr(PlaceKeeper, "_store", store)
            first._stages._place_releaser.release_runs(runs)
            return [], []

        monkeypatch.setattr(LineEntries, "store", store_both)
        app.worker().drain()
        clock.run_ready()
        assert order == [1]


def test_a_worker_that_dies_before_it_stores_a_message_keeps_the_line_waiting_for_a_moment(app, monkeypatch):
    order = []

    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(number: int) -> None:
        order.append(number)

    def dying(*_args):
        raise SystemExit

    with VirtualTime(app) as clock:
        app.send(app.signature("job", 0))
        first = app.worker()
        runs = first._receiver.start(first._receive_now())
        app.send(app.signature("job", 1))
        with monkeypatch.context() as patch:
            patch.setattr(LineEntries, "store", dying)
            with pytest.raises(SystemExit):
                app.worker().drain()
        app.send(app.signature("job", 2))
        app.worker().drain()
        first._stages._place_releaser.release_runs(runs)
        recovery = first._stages.place_recovery
        for expected, seconds in (([], 4), ([2], 2)):
            clock._clock.turn(seconds)
            first._stages._place_releaser.follow(first._stages._place_keeper.recover(recovery.limits))
            app.worker().drain()
            assert order == expected
        clock.run_for(minutes=30)
        assert order == [2, 0, 1]


def test_a_task_that_waits_holds_no_slot_and_uses_no_attempt(app):
    gate, attempts = threading.Event(), []

    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job() -> None:
        attempts.append(current_task().attempt)
        gate.wait(30)

    with app.worker(concurrency=2):
        handles = app.send_many([app.signature("job") for _ in range(10)])
        until(lambda: len(line(app)) == 9, "the others are parked")
        assert app.send(app.signature("value", 5)).get(timeout=60) == 5
        assert sum(handle.state() in (State.PENDING, State.RECEIVED) for handle in handles) == 9
        assert app.operations.sizes()["default"].ready == 0
        assert len(app.operations.tasks("default", QueueSection.DELAYED)) == 9
        (status,) = app.limits.list()
        assert (status.name, dict(status.waiting)) == ("one", {"one": 9})
        assert [holder.key for holder in app.limits.holders("one")] == ["one"]
        gate.set()
        for handle in handles:
            handle.get(timeout=60)
    assert attempts == [0] * 10


def test_a_place_is_free_when_its_task_ends_in_any_way(app):
    @app.task(name="job", limits=[Concurrency("one", 1)], retry=retry.fixed(60, max_retries=1))
    def job(how: str) -> str:
        if how == "fail":
            raise OSError
        return how

    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("job", how) for how in ("fail", "a", "b")])
        cancelled = app.send(app.signature("job", "never"))
        app.cancel(cancelled.id)
        expired = app.send(app.signature("job", "never").set(expires=0))
        clock._clock.turn(1)
        last = app.send(app.signature("job", "last"))
        clock.run_ready()
        assert [handle.state() for handle in handles] == [State.RETRY, State.SUCCESS, State.SUCCESS]
        assert last.state() is State.SUCCESS
        assert expired.state() is State.EXPIRED
        clock.run_for(minutes=5)
        assert handles[0].state() is State.FAILURE
        assert app.limits.holders("one") == []


STEPS = [
    (LineEntries, "store"),
    (LineEntries, "first"),
    (PlaceKeeper, "remove_entries"),
    (Publisher, "publish_later"),
    (PlaceReleaser, "follow"),
    (PlaceReleaser, "release"),
    (Starter, "start"),
    (ResultRecorder, "record"),
    (Acknowledger, "finish"),
    (Acknowledger, "acknowledge_copied"),
]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
def test_a_worker_that_dies_at_any_step_leaks_no_place_and_loses_no_task(app, monkeypatch, step, nth):
    ran = []

    @app.task(name="job", limits=[Concurrency("one", 1), Concurrency("two:{number}", 1)])
    def job(number: int) -> int:
        ran.append(number)
        return number

    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("job", number) for number in range(4)])
        with monkeypatch.context() as patch:
            real, calls = getattr(*step), iter(range(nth))
            last = nth - 1

            def dying(*args, **kwargs):
                if next(calls, last) == last:
                    raise SystemExit
                return real(*args, **kwargs)

            patch.setattr(*step, dying)
            with pytest.raises(SystemExit):
                for _ in range(3):
                    app.worker(concurrency=2).drain()
                raise SystemExit
        for _ in range(6):
            clock.run_for(minutes=30)
        assert [handle.get(timeout=0) for handle in handles] == [0, 1, 2, 3]
        assert app.limits.holders("one") == []
        assert line(app) == []


def test_the_place_of_a_dead_worker_is_back_within_its_lease(app):
    app.task(name="job", limits=[Concurrency("one", 1)])(lambda: None)
    with VirtualTime(app) as clock:
        dead = app.send(app.signature("job"))
        worker = app.worker()
        (delivery,) = worker._receive_now()
        assert len(worker._receiver.start([delivery])) == 1  # and it dies
        app.cancel(dead.id)  # its message starts nothing any more
        clock.run_ready()
        clock._clock.turn(31)
        other = app.send(app.signature("job"))
        clock.run_ready()
        assert other.state() is State.SUCCESS


def test_a_task_that_waits_is_woken_when_the_lease_of_a_stopped_worker_ends(app):
    """Also where its message does not come again, since the broker holds it as long as the connection lives."""
    app.task(name="job", limits=[Concurrency("one", 1)])(lambda: None)
    with VirtualTime(app) as clock:
        app.send(app.signature("job"))
        stopped = app.worker()
        (delivery,) = stopped._receive_now()
        assert stopped._receiver.start([delivery])
        other = app.send(app.signature("job"))
        clock.run_ready()
        living = app.worker()
        recovery = living._stages.place_recovery
        assert living._stages._place_keeper.recover(recovery.limits).woken == [], "the lease lasts"
        clock._clock.turn(31)
        change = living._stages._place_keeper.recover(recovery.limits)
        assert [message.id for message in change.woken] == [other.id]
        living._stages._place_releaser.follow(change)
        clock.run_ready()
        assert other.state() is State.SUCCESS


def test_a_run_whose_lease_lasts_keeps_its_place(app):
    app.task(name="job", limits=[Concurrency("one", 1)])(lambda: None)
    with VirtualTime(app) as clock:
        app.send(app.signature("job"))
        worker = app.worker()
        (delivery,) = worker._receive_now()
        (run,) = worker._receiver.start([delivery])
        other = app.send(app.signature("job"))
        for _ in range(20):
            clock._clock.turn(10)
            worker._in_flight.add([run])
            worker._heartbeat.beat()
            app.worker().drain()
            assert not other.state().terminal


def test_several_limits_do_not_deadlock(app, busy):
    @app.task(name="job", limits=[Concurrency("left:{left}", 1), Concurrency("right:{right}", 1)])
    def job(left: int, right: int) -> None:
        busy(f"left {left}", 0, 0)
        busy(f"right {right}", 0, 0)

    @app.task(name="other", limits=[Concurrency("right:{right}", 1), Concurrency("left:{left}", 1)])
    def other(left: int, right: int) -> None:
        busy(f"left {left}", 0, 0)
        busy(f"right {right}", 0, 0)

    with work(app, 3):
        calls = [(n % 3, n * 7 % 4) for n in range(40)]
        handles = app.send_many([app.signature("job" if n % 2 else "other", *call) for n, call in enumerate(calls)])
        for handle in handles:
            handle.get(timeout=60)
    assert set(busy.most.values()) == {1}


def test_a_limit_with_a_rate_keeps_to_both(app, busy):
    @app.task(name="job", limits=[Rate("rate", 50, burst=5), Concurrency("one", 2)])
    def job(number: int) -> None:
        busy("one", number)

    with work(app):
        began = time.monotonic()
        handles = app.send_many([app.signature("job", n) for n in range(30)])
        for handle in handles:
            handle.get(timeout=60)
        assert time.monotonic() - began > 0.45
    assert busy.most["one"] <= 2


def test_a_call_may_be_dropped_where_no_place_is_free(app):
    gate = threading.Event()
    app.task(name="job", limits=[Concurrency("one", 1)], when_limited="drop")(lambda: gate.wait(30))
    with app.worker():
        first = app.send(app.signature("job"))
        until(lambda: first.state() is State.STARTED, "it runs")
        with pytest.raises(TaskCancelled, match="has no free place"):
            app.send(app.signature("job")).get(timeout=60)
        gate.set()
        assert first.get(timeout=60) is True


def test_a_call_may_cancel_the_oldest_one(app):
    gate, ran = threading.Event(), []

    @app.task(name="job", limits=[Concurrency("one", 2)], when_limited="cancel_oldest")
    def job(number: int) -> int:
        ran.append(number)
        if number < 3:
            gate.wait(30)
        return number

    with app.worker(concurrency=4):
        handles = []
        for number in (1, 2, 3):
            handles.append(app.send(app.signature("job", number)))
            until(lambda number=number: number in ran, "it runs")
        assert handles[2].get(timeout=60) == 3
        with pytest.raises(TaskCancelled, match="cancel_oldest"):
            handles[0].get(timeout=60)
        gate.set()
        assert handles[1].get(timeout=60) == 2


def test_the_number_changes_at_run_time(app, busy):
    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(number: int) -> None:
        busy("one", number, 0.05)

    app.limits.set("one", 4)
    with work(app, 1):
        handles = app.send_many([app.signature("job", n) for n in range(20)])
        for handle in handles:
            handle.get(timeout=60)
    assert 2 <= busy.most["one"] <= 4


def test_a_paused_queue_keeps_its_waiting_tasks(app):
    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job() -> None: ...

    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("job") for _ in range(5)])
        app.operations.pause("default")
        clock.run_for(hours=1)
        app.operations.resume("default")
        clock.run_ready()
        assert {handle.state() for handle in handles} == {State.SUCCESS}


def test_a_duplicate_takes_no_place_of_others(app, busy):
    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(number: int) -> None:
        busy("one", number)

    with work(app):
        handles = app.send_many([app.signature("job", n) for n in range(10)])
        for section in (QueueSection.READY, QueueSection.DELAYED):
            app.runtime.broker.publish(app.runtime.broker.peek("default", section, limit=100))
        for handle in handles:
            handle.get(timeout=60)
    assert busy.most == {"one": 1}
    assert len(busy.order) == 10


def test_a_message_that_is_too_large_to_be_stored_waits_all_the_same(app, monkeypatch):
    monkeypatch.setattr(
        "drivetrain.worker.limits.line_entries.encode_parked", lambda message, _: encode_parked(message, 10)
    )

    @app.task(name="job", limits=[Concurrency("one", 1)])
    def job(text: str) -> int:
        return len(text)

    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("job", "x" * 100) for _ in range(4)])
        clock.run_for(hours=1)
        assert [handle.get(timeout=0) for handle in handles] == [100] * 4


@pytest.mark.parametrize("limit", [0, 1.5, True, "3"])
def test_a_wrong_number_is_refused(limit):
    with pytest.raises(InvalidSignature, match="whole number"):
        Concurrency("one", limit)


def test_a_backend_that_stores_nothing_is_refused():
    app = App("memory://", "null://")
    app.task(name="job", limits=[Concurrency("one", 1)])(lambda: None)
    with pytest.raises(NotSupported, match="limits need"):
        app.worker()
