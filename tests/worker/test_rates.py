"""Rate limits: how often tasks start, for all workers together, at which instants, and with which keys."""

import time
from bisect import bisect_left
from datetime import timedelta
from uuid import UUID

import pytest

from drivetrain import (
    App,
    ConfigurationError,
    InvalidSignature,
    QueueSection,
    Rate,
    State,
    TaskCancelled,
    TaskFailed,
    current_task,
    retry,
)
from drivetrain.contract import ServiceUnavailable, SystemClock
from drivetrain.testing import VirtualTime
from drivetrain.worker.limits.rates import Draw, RateDraws
from drivetrain.worker.limits.specs import RateSetting
from drivetrain.worker.retrying import Retrier


def most_in(times, seconds):
    """The largest number of ``times`` in any window of this length."""
    times = sorted(times)
    return max(index + 1 - bisect_left(times, at - seconds + 1e-9) for index, at in enumerate(times))


def test_tasks_start_at_the_rate_and_no_faster(app):
    started = []

    @app.task(name="call", limits=[Rate("stripe", 10, per=timedelta(seconds=1))])
    def call(number: int) -> int:
        started.append((clock.now(), current_task().attempt))
        return number

    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("call", n) for n in range(50)])
        clock.run_for(seconds=10)
        assert [handle.get(timeout=0) for handle in handles] == list(range(50))
    times = [at.timestamp() for at, _ in started]
    assert {attempt for _, attempt in started} == {0}
    assert most_in(times, 1.0) <= 11
    assert 4.8 < times[-1] - times[0] < 5.0, "the limit is used"
    assert times == sorted(times)


def test_a_burst_starts_at_once_and_the_rest_at_the_rate(app):
    started = []

    @app.task(name="call", limits=[Rate("stripe", 1, burst=5)])
    def call() -> None:
        started.append(clock.now().timestamp() - began)

    with VirtualTime(app) as clock:
        began = clock.now().timestamp()
        app.send_many([app.signature("call")] * 8)
        clock.run_for(minutes=1)
        app.send_many([app.signature("call")] * 6)
        clock.run_for(minutes=1)
    assert started == pytest.approx([0, 0, 0, 0, 0, 1, 2, 3, 60, 60, 60, 60, 60, 61], abs=0.01)


def test_a_task_that_waits_is_delayed_once_and_stays_pending(app, monkeypatch):
    draws = []
    real = RateDraws.draw
    monkeypatch.setattr(RateDraws, "draw", lambda self, some: draws.append(len(some)) or real(self, some))
    app.task(name="call", limits=[Rate("stripe", 1)])(lambda: None)
    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("call") for _ in range(20)])
        clock.run_ready()
        assert sum(handle.state() is State.PENDING for handle in handles) == 19
        delayed = app.operations.tasks("default", QueueSection.DELAYED)
        assert [round(task.eta.timestamp() - clock.now().timestamp()) for task in delayed] == list(range(1, 20))
        clock.run_for(minutes=1)
        assert {handle.state() for handle in handles} == {State.SUCCESS}
    assert sum(draws) == 20, "each task draws once"


def test_a_batch_draws_with_one_read_and_one_write_whatever_it_draws(memory_app, monkeypatch):
    backend, calls = memory_app.runtime.backend, []
    for name in ("read_values", "write_values"):
        call = getattr(backend, name)
        monkeypatch.setattr(backend, name, lambda values, name=name, call=call: calls.append(name) or call(values))
    draws = RateDraws(lambda: backend, SystemClock(), Retrier(SystemClock()))
    rate = RateSetting(limit=10.0, per=1.0, burst=1.0)
    wanted = [Draw(name="api", key=f"api/{number % 7}", declared=rate, cost=1.0) for number in range(100)]
    draws.draw(wanted)  # the first one starts the clock of the limits
    del calls[:]
    assert len(draws.draw(wanted)) == 100
    assert calls == ["read_values", "write_values"]


def test_each_key_has_a_limit_of_its_own_and_keeps_no_other_waiting(app):
    done = []

    @app.task(name="call", limits=[Rate("api:{user}", 1, per=3600)])
    def call(user: str, number: int) -> None:
        done.append((user, number))

    with VirtualTime(app) as clock:
        app.send_many([app.signature("call", "greedy", n) for n in range(100)])
        app.send_many([app.signature("call", user=f"u{n}", number=0) for n in range(5)])
        clock.run_ready()
        assert done == [("greedy", 0), *((f"u{n}", 0) for n in range(5))]


def test_keys_are_made_of_typed_arguments(app):
    class User:
        pass

    seen = []

    def tenant(user: UUID, **_: object) -> str:
        seen.append(user)
        return user.hex[:1]

    @app.task(name="call", limits=[Rate("tenant", 1, per=3600, key=tenant)])
    def call(user: UUID, *, size: int = 3) -> UUID:
        return user

    with VirtualTime(app) as clock:
        handles = [app.send(app.signature("call", UUID(int=n << 124))) for n in (1, 1, 2)]
        clock.run_ready()
        assert [handle.state().terminal for handle in handles] == [True, False, True]
    assert all(type(user) is UUID for user in seen)


def test_a_call_costs_what_it_says(app):
    started = []

    @app.task(name="call", limits=[Rate("tokens", 100, per=1, burst=100, cost=lambda tokens: tokens)])
    def call(tokens: int) -> None:
        started.append(round(clock.now().timestamp() - began, 2))

    with VirtualTime(app) as clock:
        began = clock.now().timestamp()
        app.send_many([app.signature("call", tokens) for tokens in (60, 40, 50, 200)])
        clock.run_for(minutes=1)
    assert started == pytest.approx([0, 0, 0.5, 2.5], abs=0.01)


def test_a_task_with_several_limits_keeps_to_all(app):
    started = []

    @app.task(name="call", limits=[Rate("one", 2, burst=2), Rate("two", 1, burst=3)])
    def call() -> None:
        started.append(round(clock.now().timestamp() - began, 1))

    with VirtualTime(app) as clock:
        began = clock.now().timestamp()
        app.send_many([app.signature("call")] * 6)
        clock.run_for(minutes=1)
    assert len(started) == 6
    assert most_in(started, 1.0) <= 4
    assert 2.9 <= started[-1] <= 3.1


def test_a_retry_draws_again(app):
    started = []

    @app.task(name="call", limits=[Rate("stripe", 1)], retry=retry.fixed(0, max_retries=3))
    def call() -> None:
        started.append(clock.now().timestamp())
        raise OSError

    with VirtualTime(app) as clock:
        handle = app.send(app.signature("call"))
        clock.run_for(minutes=1)
        with pytest.raises(TaskFailed):
            handle.get(timeout=0)
    assert len(started) == 4
    assert most_in(started, 1.0) <= 2


def test_the_numbers_change_at_run_time_also_for_what_was_reserved(app):
    started = []

    @app.task(name="call", limits=[Rate("stripe", 10)])
    def call() -> None:
        started.append(clock.now().timestamp() - began)

    with VirtualTime(app) as clock:
        began = clock.now().timestamp()
        app.send_many([app.signature("call") for _ in range(60)])
        clock.run_for(seconds=2)
        assert len(started) == 21
        app.limits.set("stripe", 1)
        clock.run_for(seconds=10)
        assert 29 <= len(started) <= 32
        assert most_in(started[21:], 1.0) <= 2
        app.limits.reset("stripe")
        clock.run_for(minutes=2)
        assert len(started) == 60


def test_tasks_that_came_due_while_no_worker_ran_do_not_start_all_at_once(app):
    started = []

    @app.task(name="call", limits=[Rate("stripe", 10)])
    def call() -> None:
        started.append(clock.now().timestamp())

    with VirtualTime(app) as clock:
        app.send_many([app.signature("call") for _ in range(100)])
        clock.run_ready()
        clock._clock.turn(3600)  # the workers are away for an hour
        clock.run_for(seconds=30)
        assert len(started) == 100
        assert most_in(started, 1.0) <= 11


def test_a_call_may_be_dropped_instead(app):
    app.task(name="call", limits=[Rate("stripe", 1, burst=2)], when_limited="drop")(lambda: None)
    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("call") for _ in range(3)])
        clock.run_ready()
        assert [handle.state() for handle in handles] == [State.SUCCESS, State.SUCCESS, State.CANCELLED]
        with pytest.raises(TaskCancelled, match="limit 'stripe' was reached"):
            handles[2].get(timeout=0)


def test_a_long_wait_is_recorded_so_that_no_rescue_takes_it_for_a_loss(app):
    app.task(name="call", limits=[Rate("stripe", 1, per=7200)])(lambda: None)
    with VirtualTime(app) as clock:
        handles = app.send_many([app.signature("call") for _ in range(3)])
        clock.run_for(hours=2.5)
        assert [handle.state() for handle in handles[:2]] == [State.SUCCESS] * 2
        clock.run_for(hours=2)
        assert handles[2].get(timeout=0) is None


def test_a_key_that_cannot_be_made_fails_the_task_and_names_the_error(app):
    app.task(name="call", limits=[Rate("x", 1, key=lambda number: 1 // number)])(_takes_number)
    with VirtualTime(app) as clock:
        wrong, right = app.send(app.signature("call", 0)), app.send(app.signature("call", 1))
        clock.run_ready()
        assert right.get(timeout=0) == 1
        with pytest.raises(TaskFailed, match="division"):
            wrong.get(timeout=0)
        assert "limit of the task cannot be applied" in app.operations.dead_letters("default")[0].reason


def test_workers_survive_a_store_that_is_away(app, monkeypatch):
    app.task(name="call", limits=[Rate("stripe", 100)])(lambda: None)
    with VirtualTime(app) as clock:
        backend, failures = app.runtime.backend, iter([ServiceUnavailable("away")] * 3)
        real = backend.write_values

        def write(writes):
            if (error := next(failures, None)) is not None:
                raise error
            return real(writes)

        monkeypatch.setattr(type(backend), "write_values", lambda _self, writes: write(writes))
        handle = app.send(app.signature("call"))
        clock.run_for(minutes=1)
        assert handle.state() is State.SUCCESS


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Rate("x", 0), "limit of a Rate is 0"),
        (lambda: Rate("x", 1, per=-1), "period of a Rate"),
        (lambda: Rate("x", 1, burst=0), "burst of a Rate"),
        (lambda: Rate("x", 1, cost=True), "cost of a Rate"),
        (lambda: _with(limits=[Rate("x:{nobody}", 1)]), "names nobody, and the task has other parameters: number"),
        (lambda: _with(limits=[Rate("x:{}", 1)]), "field without the name"),
        (lambda: _with(limits=[Rate("x:{", 1)]), "not a template"),
        (lambda: _with(limits=["x"]), "'x' as a limit"),
        (lambda: _with(limits=[Rate("x", 1)], when_limited="never"), "when_limited of task"),
    ],
)
def test_mistakes_are_found_when_the_task_is_defined(make, text):
    with pytest.raises(InvalidSignature, match=text):
        make()


def test_two_tasks_share_a_limit_only_with_the_same_numbers():
    app = App("memory://")
    app.task(name="one", limits=[Rate("stripe", 1)])(_takes_number)
    with pytest.raises(ConfigurationError, match="1 per 1 s, burst 1 and 2 per 1 s, burst 1"):
        app.task(name="two", limits=[Rate("stripe", 2)])(_takes_number)


def _takes_number(number: int) -> int:
    return number


def _with(**options):
    App("memory://").task(name="one", **options)(_takes_number)


def test_the_limit_is_kept_and_used_by_real_workers(app):
    """At 95 %, by several workers with threads."""
    started = []

    @app.task(name="call", limits=[Rate("stripe", 100, burst=5)])
    def call() -> None:
        started.append(time.monotonic())

    workers = [app.worker(), app.worker(), app.worker()]
    handles = app.send_many([app.signature("call") for _ in range(250)])
    for worker in workers:
        worker.start()
    for handle in handles:
        handle.get(timeout=60)
    for worker in workers:
        worker.stop()
    took = max(started) - min(started)
    assert len(started) == 250
    assert took >= (250 - 5) / 100 * 0.97


def test_operators_see_limits_and_cannot_mistake_a_name(app):
    app.task(name="call", limits=[Rate("api:{number}", 1, per=60)])(_takes_number)
    with VirtualTime(app) as clock:
        app.send_many([app.signature("call", n) for n in (1, 1, 2)])
        clock.run_ready()
        app.limits.set("api:{number}", 5, by="ada")
        (limit,) = app.limits.list()
        assert (limit.name, limit.tasks, limit.declared.limit) == ("api:{number}", ("call",), 1)
        assert (limit.change.limit, limit.change.by) == (5, "ada")
        assert limit.reserved_seconds == pytest.approx({"api:1": 120, "api:2": 60}, abs=0.1)
        with pytest.raises(ConfigurationError, match="did you mean 'api:{number}'"):
            app.limits.set("api:{nmber}", 5)
        assert app.limits.reset("api:{number}")
        assert not app.limits.reset("api:{number}")
