"""Clauses F1 to F8: limits of tasks, for all workers together."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from drivetrain import (
    App,
    Concurrency,
    Debounce,
    Postpone,
    Rate,
    Result,
    Signature,
    TaskCancelled,
    TaskFailed,
    Unique,
    current_task,
    retry,
)
from drivetrain.worker.limits.rates import Draw, RateDraws
from drivetrain.worker.limits.specs import RateSetting
from drivetrain.worker.retrying import Retrier
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun
from drivetrain_contract_tests.workflows import limited_worker
from drivetrain_contract_tests.workflows.app_harness import QUEUE, AppHarness
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Faults
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["LimitChecks"]

#: How many tasks of one key may run at the same time.
_PLACES = 2
#: What the clocks of two threads of one machine, and a round trip, may add to an instant, in seconds.
_TOLERANCE_SECONDS = 0.1


class _Busy:
    """Notes which tasks run at the same time. Thread-safe.

    Args:
        seconds: how long each takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[tuple[str, int]] = []
        #: The runs wait until it is set.
        self.go = threading.Event()

    def run(self, key: str, number: int) -> int:
        """A task runs; which attempt it is."""
        with self._lock:
            self._running[key] += 1
            self.most[key] = max(self.most[key], self._running[key])
            self.began.append((key, number))
        self.go.wait(60.0)
        time.sleep(self._seconds)
        with self._lock:
            self._running[key] -= 1
        return current_task().attempt


class LimitChecks(WorkflowBase):
    """What a limit lets through, and what it holds back."""

    # Rates

    @holds("F1")
    def test_all_that_draw_from_a_rate_share_it_and_use_it(self) -> None:
        """Several workers draw at the same time; the instants that they get keep to the rate, and leave nothing out."""
        setting, number = RateSetting(limit=50.0, per=1.0, burst=5.0), 100
        with self.harness() as harness:
            instants: list[float] = []
            apps = [harness.app(with_tasks=False) for _ in range(4)]
            errors = _together([lambda app=app: instants.extend(self._draw(app, setting, number // 4)) for app in apps])  # type: ignore[misc]
            assert not errors, f"a draw has failed: {errors[0]!r}"
        instants.sort()
        for seconds in (0.2, 0.5, 1.0):
            allowed = setting.limit * (seconds + _TOLERANCE_SECONDS) + setting.burst
            most = _most_in(instants, seconds)
            assert most <= allowed, f"{most} starts are reserved in {seconds} s, and the rate allows {allowed:.0f}"
        span = instants[-1] - instants[0]
        needed = (number - setting.burst) / setting.limit
        assert span <= needed / 0.95 + _TOLERANCE_SECONDS, f"{number} starts take {span:.2f} s, and need {needed:.2f} s"

    def _draw(self, app: App, setting: RateSetting, number: int) -> list[float]:
        clock = app.runtime.clock
        draws = RateDraws(lambda: app.runtime.backend, clock, Retrier(clock, limit_seconds=self.patience_seconds))
        instants = []
        for _ in range(number // 5):
            waits = draws.draw([Draw("rate", "rate", setting, 1.0)] * 5)
            instants += [clock.monotonic() + one.wait_seconds for one in waits]
        return instants

    @holds("F1", "F2")
    def test_limited_tasks_start_at_their_rate_and_use_no_attempt(self) -> None:
        """On two workers. A task with another key does not wait for them."""
        with self.harness() as harness:
            apps = [self._rated(harness) for _ in range(2)]
            handles = apps[0].send_many([_call("rated", "many", number) for number in range(16)])
            other = apps[0].send(_call("rated", "other", 0))
            for app in apps:
                harness.worker(app)
            assert harness.outcome(other) == 0
            assert [harness.outcome(handle) for handle in handles] == [0] * 16, "a task that waits has used an attempt"
            many = sorted(run.at for run in harness.run_log.runs if run.label == "many")
            needed, took = (16 - 4) / 20, many[-1] - many[0]
            # Half of it, since on a busy machine the first start is late; the check of the draws is exact.
            assert took >= needed / 2, f"16 starts took {took:.2f} s, and the rate needs {needed} s"

    def _rated(self, harness: AppHarness) -> App:
        app = harness.app()

        @app.task(name="rated", limits=[Rate("rate:{key}", 20, burst=4)])
        def rated(key: str, number: int) -> int:
            harness.run_log.note(key, (number,))
            return current_task().attempt

        return app

    @holds("F2")
    def test_a_postponed_task_uses_no_retry_and_has_an_end(self) -> None:
        """It runs as the same attempt until its deadline."""
        with self.harness() as harness:
            app = harness.app()

            @app.task(name="later", retry=retry.never())
            def later(times: int) -> int:
                if harness.run_log.note("later", (times,)) < times:
                    raise Postpone(after=0.02, within=60.0)
                return current_task().attempt

            @app.task(name="never", retry=retry.fixed(0.0))
            def never() -> None:
                raise Postpone("not yet", after=0.05, within=0.05)

            ending = app.send(app.signature("never"))
            harness.worker(app)
            assert harness.outcome(app.send(app.signature("later", 3))) == 0
            with pytest.raises(TaskFailed, match="not yet"):
                ending.get(timeout=self.patience_seconds)

    # Places

    @holds("F3", "F5")
    def test_no_more_tasks_of_a_key_run_than_it_has_places(self) -> None:
        """On two workers with room for all; those that wait hold no slot, and another key has places of its own."""
        with self.harness() as harness:
            busy = _Busy()
            apps = [self._placed(harness, busy) for _ in range(2)]
            handles = apps[0].send_many([_call("placed", "one", number) for number in range(8)])
            for app in apps:
                harness.worker(app)
            until(lambda: len(busy.began) == _PLACES, "the first ones run", self.patience_seconds)
            other = apps[0].send(_call("placed", "other", 0))
            until(lambda: ("other", 0) in busy.began, "another key runs", self.patience_seconds)
            busy.go.set()
            assert [harness.outcome(handle) for handle in (*handles, other)] == [0] * 9
            assert busy.most["one"] == _PLACES, (
                f"{busy.most['one']} ran at the same time, and there are {_PLACES} places"
            )

    @holds("F5")
    def test_tasks_that_wait_for_a_place_start_in_their_order(self) -> None:
        """Each waits before the next one is sent."""
        with self.harness() as harness:
            busy = _Busy()
            app = self._placed(harness, busy)
            harness.worker(app)
            handles = []
            for number in range(6):
                handles.append(app.send(_call("placed", "one", number)))
                until(lambda sent=number + 1: _entered(app, busy) == sent, "it runs or waits", self.patience_seconds)  # type: ignore[misc]
            busy.go.set()
            for handle in handles:
                harness.outcome(handle)
            numbers = [number for _, number in busy.began]
            # Those that get free places at the same moment start in threads of their own.
            in_order = all(abs(number - turn) < _PLACES for turn, number in enumerate(numbers))
            assert in_order, f"they started in the order {numbers}"

    @holds("F5")
    def test_tasks_with_several_limits_do_not_deadlock(self) -> None:
        """They need two places each, in either order."""
        with self.harness() as harness:
            busy = _Busy()
            busy.go.set()
            apps = [self._placed(harness, busy) for _ in range(2)]
            calls = [_call(("left", "right")[number % 2], f"{number % 2}", number) for number in range(10)]
            handles = apps[0].send_many(calls)
            for app in apps:
                harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [0] * 10
            assert max(busy.most.values()) == 1, f"at the same time: {busy.most}"

    @holds("F4")
    def test_lost_replies_and_messages_that_come_twice_exceed_no_limit(self) -> None:
        """Every other reply of each method is lost, and each message is published twice."""
        for faults in (Faults(every_other=True), Faults(twice=True)):
            with self.harness(lease_seconds=self.short_lease_seconds) as harness:
                busy = _Busy(0.03)
                busy.go.set()
                sender = self._placed(harness, busy)
                handles = sender.send_many([_call("placed", "one", number) for number in range(6)])
                harness.worker(self._placed(harness, busy, faults=faults))
                harness.worker(self._placed(harness, busy))
                assert [harness.outcome(handle) for handle in handles] == [0] * 6
                assert busy.most["one"] <= _PLACES, f"{busy.most['one']} ran at the same time"
                until(lambda sent=sender: not sent.limits.holders(), "all places are free", self.patience_seconds)  # type: ignore[misc]

    @holds("F4")
    def test_the_place_of_a_dead_worker_is_back_within_its_lease(self) -> None:
        """It dies while its tasks run; its own tasks and those that wait run on another worker."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            busy, dying = _Busy(), Faults()
            app = self._placed(harness, busy, faults=dying)
            handles = app.send_many([_call("placed", "one", number) for number in range(5)])
            worker = harness.worker(app)
            until(lambda: len(busy.began) == _PLACES, "it runs tasks", self.patience_seconds)
            dying.away.set()
            harness.disconnect(app)
            worker.stop(grace_seconds=0.0)
            second = _Busy()
            second.go.set()
            living = self._placed(harness, second)
            harness.worker(living)
            assert [harness.outcome(living.result(handle.id)) for handle in handles] == [0] * 5
            busy.go.set()
            assert second.most["one"] <= _PLACES, f"{second.most['one']} ran at the same time"
            until(lambda: not living.limits.holders(), "all places are free", self.patience_seconds)

    @holds("F4")
    def test_processes_that_are_killed_and_stopped_exceed_no_limit_and_lose_nothing(self) -> None:
        """Three workers, of which one after the other is killed or stopped for longer than its lease."""
        if not (self.broker_declares().shared and self.backend_declares().shared) or self.pair.made_here:
            raise NotDeclared("not declared: shared, of both, or its drivers are made in this process")
        if self.profile.name == "quick":
            raise NotRun("it starts six processes, and waits for several leases: too long for the profile quick")
        with self.harness(lease_seconds=self.short_lease_seconds) as harness, TemporaryDirectory() as directory:
            path, random = Path(directory, "spans"), Random(self.profile.seed)
            urls = self.pair.broker.url(harness.namespace), self.pair.backend.url(harness.namespace)
            app = App(*urls, lease_seconds=self.short_lease_seconds)
            limited_worker.register(app, path)
            processes: list[subprocess.Popen[bytes]] = []
            try:
                processes += [self._start(urls, path) for _ in range(3)]
                handles = app.send_many([app.signature("limited", number) for number in range(60)])
                for step in range(3):
                    until(lambda more=step * 12: len(limited_worker.read_spans(path)) > more, "they work", 60.0)  # type: ignore[misc]
                    victim = processes.pop(random.randrange(len(processes)))
                    victim.send_signal(signal.SIGKILL if step % 2 else signal.SIGSTOP)
                    processes.append(victim)
                    processes.insert(0, self._start(urls, path))
                for handle in handles:
                    handle.get(timeout=60.0)
                until(lambda: not app.limits.holders(), "all places are free", 60.0)
            finally:
                for process in processes:
                    process.kill()
                    process.wait()
                app.close()
            spans = [span for span in limited_worker.read_spans(path) if span.ended is not None]
            assert {span.number for span in spans} == set(range(60)), "a task is lost"
            most = _most_at_once([(span.began, span.ended or 0.0) for span in spans])
            assert most <= limited_worker.PLACES, f"{most} ran at the same time"

    def _start(self, urls: tuple[str, str], path: Path) -> subprocess.Popen[bytes]:
        lease = str(self.short_lease_seconds)
        command = [sys.executable, "-m", limited_worker.__name__, *urls, str(path), lease, self.pair.prelude]
        return subprocess.Popen(command)  # noqa: S603  our own

    @holds("F6")
    def test_a_pause_loses_nothing_of_what_waits(self) -> None:
        """Neither what stands in a line, nor what was woken into a queue that is paused."""
        with self.harness() as harness:
            busy = _Busy()
            app = self._placed(harness, busy)
            handles = app.send_many([_call("placed", "one", number) for number in range(5)])
            worker = app.worker().start()
            until(lambda: _entered(app, busy) == 5, "they run or wait", self.patience_seconds)
            app.operations.pause(QUEUE)
            until(lambda: worker._stages.pauses.open_queues == (), "the worker knows", self.patience_seconds)
            busy.go.set()
            for handle in handles[:_PLACES]:
                assert harness.outcome(handle) == 0
            worker.stop()
            app.operations.resume(QUEUE)
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [0] * 5

    def _placed(self, harness: AppHarness, busy: _Busy, **options: Any) -> App:
        app = harness.app(concurrency=8, **options)
        app.task(name="placed", limits=[Concurrency("{key}", _PLACES)])(busy_run := _runner(busy))
        for name, limits in (("left", ("a", "b")), ("right", ("b", "a"))):
            app.task(name=name, limits=[Concurrency(limit, 1) for limit in limits])(busy_run)
        return app

    # Unique keys

    @holds("F7")
    def test_of_several_senders_at_once_one_sends(self) -> None:
        """The others get its handle; when it has ended, the key is free."""
        with self.harness() as harness:
            apps = [self._unique(harness) for _ in range(4)]
            handles: list[Result[Any]] = []
            errors = _together([lambda app=app: handles.append(app.send(app.signature("unique", 1))) for app in apps])  # type: ignore[misc]
            assert not errors, f"sending has failed: {errors[0]!r}"
            assert len({handle.id for handle in handles}) == 1, "the same key was sent several times"
            other = apps[0].send(apps[0].signature("unique", 2))
            assert other.id != handles[0].id, "another key is not the same"
            harness.worker(apps[0])
            assert [harness.outcome(handle) for handle in (handles[0], other)] == [1, 2]
            assert harness.run_log.ran()["unique"] == 2
            again = apps[1].send(apps[1].signature("unique", 1))
            assert again.id != handles[0].id, "the key of a task that has ended is held"

    @holds("F7")
    def test_a_key_is_kept_over_retries_and_given_up_by_its_own_holder_alone(self) -> None:
        """Whatever the end of the holder is: it fails, or it is cancelled. The end of an earlier one frees nothing."""
        with self.harness() as harness:
            app = self._unique(harness)
            first = app.send(app.signature("retried", 1))
            worker = app.worker()
            until(lambda: worker.drain() > 0, "its first attempt fails", self.patience_seconds)
            assert app.send(app.signature("retried", 1)).id == first.id, "a task lost its key between two attempts"
            assert app.cancel(first.id)
            second = app.send(app.signature("retried", 1))
            assert second.id != first.id, "a cancelled task holds its key"
            until(
                lambda: worker.drain() == 0 or True, "what is left of the first one is settled", self.patience_seconds
            )
            assert app.send(app.signature("retried", 1)).id == second.id, "another task has given up the key"
            with pytest.raises(TaskCancelled):
                first.get(timeout=self.patience_seconds)

    def _unique(self, harness: AppHarness) -> App:
        app = harness.app()

        @app.task(name="unique", unique=Unique(key="{key}"))
        def unique(key: int) -> int:
            harness.run_log.note("unique", (key,))
            return key

        @app.task(name="retried", unique=Unique(key="{key}"), retry=retry.fixed(0.3, max_retries=9))
        def retried(key: int) -> int:
            raise ArithmeticError(key)

        return app

    @holds("F8")
    def test_a_debounced_task_runs_once_with_the_last_arguments(self) -> None:
        """All callers get the same handle."""
        with self.harness() as harness:
            app = harness.app()

            @app.task(name="debounced", debounce=Debounce(0.3, key="{key}"))
            def debounced(key: int, value: int) -> int:
                harness.run_log.note("debounced", (key, value))
                return value

            handles = [app.send(app.signature("debounced", 1, value)) for value in range(3)]
            later = time.time() + 0.2
            until(lambda: time.time() > later, "some of the time has passed", self.patience_seconds)
            handles.append(app.send(app.signature("debounced", 1, 3)))
            assert len({handle.id for handle in handles}) == 1, "several tasks were sent for one key"
            sent = time.time()
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [3] * 4
            (run,) = harness.run_log.of("debounced")
            assert run.at >= sent + 0.3 - _TOLERANCE_SECONDS, "it ran before its calls were quiet"


def _runner(busy: _Busy) -> Callable[[str, int], int]:
    def placed(key: str, number: int) -> int:
        return busy.run(key, number)

    return placed


def _call(task: str, key: str, number: int) -> Any:
    return Signature(task=task, args=(key, number))


def _entered(app: App, busy: _Busy) -> int:
    """How many tasks run, have run, or stand in a line."""
    return len(busy.began) + sum(sum(one.waiting.values()) for one in app.limits.list())


def _together(calls: Sequence[Callable[[], object]]) -> list[Exception]:
    """Call functions at the same time; their errors."""
    errors: list[Exception] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        start.wait()
        try:
            call()
        except Exception as error:  # noqa: BLE001  the caller looks at it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def _most_in(times: Sequence[float], seconds: float) -> int:
    """The largest number of sorted ``times`` in a window of this length."""
    return max(index + 1 - bisect_left(times, at - seconds) for index, at in enumerate(times))


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """The largest number of spans that overlap."""
    running = most = 0
    for _, change in sorted([*((began, 1) for began, _ in spans), *((ended, -1) for _, ended in spans)]):
        running += change
        most = max(most, running)
    return most
