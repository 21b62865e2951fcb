"""Clauses T1 to T4 and T14: each tick once, whatever happens to schedulers and services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

from attrs import define, field, frozen

from drivetrain import Scheduler, at, chord, every
from drivetrain.contract import Durability, ServiceError, State, Transition
from drivetrain_contract_tests.backends.timing import ShiftedClock
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Fault, Faults, Moment
from drivetrain_contract_tests.workflows.timeline import Timeline, hours

__all__ = ["TickChecks"]

_SURVIVE = {Durability.PROCESS, Durability.POWER}
#: How many schedulers look at the same time.
_SCHEDULERS = 3
#: By how much clocks are wrong, in seconds.
_SKEW_SECONDS = 2.0
#: How long a scheduler with a fast clock has to be early, in seconds.
_AHEAD_SECONDS = 1.0
#: How exactly clocks are compared, in seconds.
_EXACT_SECONDS = 0.3


@define(eq=False)
class _Interrupted(Faults):
    """The scheduler is stopped at its first call of a method, while something else happens."""

    method: str = ""
    #: Whether it is stopped before the call, or after it.
    moment: Moment = Moment.BEFORE
    meanwhile: Callable[[], object] = field(default=lambda: None)
    stopped: bool = False

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """Do the call, and the other thing before or after it."""
        stops = method == self.method and not self.stopped
        self.stopped = self.stopped or stops
        if stops and self.moment is Moment.BEFORE:
            self.meanwhile()
        made = super().call(method, function)
        if stops and self.moment is Moment.AFTER:
            self.meanwhile()
        return made


@frozen
class _Failing:
    """Which call of a scheduler fails; None: none."""

    fault: Fault | None


class TickChecks(WorkflowBase):
    """Schedulers that run at once, die, are stopped, and have wrong clocks."""

    @holds("T1")
    def test_each_tick_is_sent_once_however_many_schedulers_look(self) -> None:
        """Several look at the same time, hour by hour; the workflows run once."""
        with self.harness() as harness, ThreadPoolExecutor(_SCHEDULERS) as threads:
            timeline = Timeline(harness)
            apps = [timeline.app() for _ in range(_SCHEDULERS)]
            timeline.schedules(apps[0]).put("hourly", call("act", label="hourly"), every(hours=1))
            schedulers = [timeline.scheduler(app) for app in apps]
            wanted = hours(1, 2, 3, 4)
            for hour in range(1, 5):
                timeline.at(hour)
                list(threads.map(timeline.tick, schedulers))
            assert timeline.instants() == wanted, "a tick was not sent once"
            timeline.run_all(timeline.app(), lambda: len(timeline.runs()) >= len(wanted))
            assert sorted(timeline.runs().values()) == [1] * len(wanted), "the task of a tick did not run once"

    @holds("T1")
    def test_a_scheduler_leaves_the_ticks_to_another_one_that_sends_them(self) -> None:
        """One is in the middle of sending when another one looks."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            timeline.schedules(app).put("hourly", call("act", label="hourly"), every(hours=1))
            other = timeline.scheduler(timeline.app())
            faults = _Interrupted(method="record", moment=Moment.AFTER, meanwhile=other.tick)
            first = timeline.scheduler(timeline.app(faults=faults))
            timeline.tick_at(first, 1)
            assert faults.stopped, "the scheduler has not recorded what it sends"
            assert timeline.instants() == hours(1), "two schedulers have sent the same tick"

    @holds("T2")
    def test_a_scheduler_that_dies_loses_no_tick_and_repeats_none(self) -> None:
        """It dies at any call; the next one sends what is missing, when the lock of the dead one has ended."""
        self.at_once(self._play_failure, self._failures(lasts=True))

    @holds("T2")
    def test_a_call_that_fails_loses_no_tick_and_repeats_none(self) -> None:
        """Any call fails, before it is done or with its reply lost; the same scheduler goes on."""
        self.at_once(self._play_failure, self._failures(lasts=False))

    def _failures(self, *, lasts: bool) -> list[_Failing]:
        """Some failures, always those around the publishing of messages."""
        calls = self._play_failure(_Failing(None))
        faults = [Fault(number + 1, moment, lasts=lasts) for number in range(len(calls)) for moment in Moment]
        chosen = [fault for fault in faults if calls[fault.number - 1] == "publish"][-2:]
        others = [fault for fault in faults if fault not in chosen]
        number = max(0, min(len(others), self.profile.races - len(chosen)))
        chosen += Random(f"{self.profile.seed} {lasts}").sample(others, number)
        return [_Failing(fault) for fault in chosen]

    def _play_failure(self, case: _Failing) -> list[str]:
        """Two ticks of a task and of a chord, while a call fails; the calls that the scheduler made before."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            timeline = Timeline(harness)
            app, faults = timeline.app(), Faults(case.fault)
            schedules = timeline.schedules(app)
            schedules.put("task", call("act", label="task"), every(hours=1), misfire="all", catch_up=7200.0)
            both = [call("act", label="member"), call("act", label="member")]
            schedules.put("chord", chord(both, call("act", label="after")), every(hours=1))
            first = timeline.scheduler(timeline.app(faults=faults, send_seconds=0.0))
            timeline.at(2)
            with suppress(ServiceError):
                timeline.tick(first) if case.fault is None or not case.fault.lasts else first.tick()
            calls = list(faults.calls)
            timeline.tick(timeline.scheduler(app))
            wanted = {"task": 2, "member": 2, "after": 1}
            timeline.run_all(app, lambda: all(harness.run_log.ran()[label] >= n for label, n in wanted.items()))
            assert dict(harness.run_log.ran()) == wanted, f"not each tick ran once: {case}, {faults.calls}"
            return calls

    @holds("T3")
    def test_a_scheduler_that_was_stopped_sends_nothing_after_another_has_taken_over(self) -> None:
        """It has recorded the tasks, and is stopped until its lock has ended; then another one sends the ticks."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            timeline.schedules(app).put("hourly", call("act", label="hourly"), every(hours=1))
            other = timeline.scheduler(timeline.app())
            faults = _Interrupted(method="record", moment=Moment.AFTER, meanwhile=lambda: timeline.tick(other))
            stopped = timeline.scheduler(timeline.app(faults=faults))
            timeline.tick_at(stopped, 1)
            assert faults.stopped, "the scheduler has not recorded what it sends"
            assert timeline.instants() == hours(1), "a scheduler that was stopped has sent a tick again"
            timeline.tick_at(stopped, 2)
            assert timeline.instants() == hours(1, 2), "a scheduler that was stopped does not go on"

    @holds("T3")
    def test_what_a_stopped_scheduler_publishes_late_runs_nothing_twice(self) -> None:
        """It is stopped right before it publishes, until the tick has run and its record has expired."""
        self._need_records()
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            timeline.schedules(app).put("hourly", call("act", label="hourly"), every(hours=1))
            other = timeline.scheduler(app)

            def take_over() -> None:
                timeline.tick(other)
                timeline.run_all(app, lambda: bool(timeline.runs()))
                app.runtime.backend.forget(list(timeline.runs()))

            faults = _Interrupted(method="publish", meanwhile=take_over)
            timeline.tick_at(timeline.scheduler(timeline.app(faults=faults)), 1)
            assert faults.stopped, "the scheduler has not published"
            assert timeline.instants() == hours(1, 1), "the scheduler was not stopped before it published"
            timeline.run_all(app, harness.empty)
            assert list(timeline.runs().values()) == [1], "a message without a record has run again"

    @holds("T3")
    def test_a_tick_before_the_cursor_is_not_sent_again(self) -> None:
        """Also when nothing is known of its task any more."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            timeline.schedules(app).put("hourly", call("act", label="hourly"), every(hours=1))
            timeline.tick_at(timeline.scheduler(app), 1)
            app.runtime.backend.forget([message.id for message in harness.run_log.messages])
            timeline.tick_at(timeline.scheduler(app), 1.001, 1.5)
            assert timeline.instants() == hours(1), "a tick was repeated when its record had expired"

    def _need_records(self) -> None:
        backend, broker = self.backend_declares().durability, self.broker_declares().durability
        if backend is Durability.CACHE or (backend is Durability.NONE and broker is not Durability.NONE):
            raise NotDeclared("not declared: a durability by which records last as long as messages")

    @holds("T4")
    def test_no_tick_is_early_by_the_clock_of_the_backend(self) -> None:
        """A scheduler whose clock is two seconds fast does not send a tick two seconds early."""
        self._need_clock()
        with self.harness() as harness:
            app, fast = harness.app(), harness.app(clock=ShiftedClock(_SKEW_SECONDS))
            instant = time.time() + _AHEAD_SECONDS
            app.schedules.put("soon", call("act", label="soon"), at([_aware(instant)]))
            with fast.scheduler():
                harness.until(lambda: bool(harness.run_log.messages), "the tick is sent")
            early = instant - time.time()
            assert early < _EXACT_SECONDS, f"a tick was sent {early:.2f} s early"

    @holds("T4")
    def test_a_slow_clock_makes_no_tick_late(self) -> None:
        """A scheduler whose clock is two seconds behind sends a tick that is due."""
        self._need_clock()
        with self.harness() as harness:
            app, slow = harness.app(), harness.app(clock=ShiftedClock(-_SKEW_SECONDS))
            instant = time.time() + _EXACT_SECONDS
            app.schedules.put("soon", call("act", label="soon"), at([_aware(instant)]))
            scheduler = slow.scheduler()
            pause = threading.Event()
            while not harness.run_log.messages:
                assert time.time() < instant + _SKEW_SECONDS / 2, "a tick waits for a slow clock"
                scheduler.tick()
                pause.wait(_EXACT_SECONDS / 10)

    def _need_clock(self) -> None:
        namespace = self.pair.backend.namespace()
        right = self.pair.backend.backend(namespace)
        fast = self.pair.backend.backend(namespace, ShiftedClock(2 * 3600.0))
        try:
            ended = Transition(task_id="witness", state=State.SUCCESS, at=0.0, retention=3600.0)
            right.record([ended])
            if fast.read(["witness"]) == [None]:
                raise NotDeclared("it counts by the clock of its client")
        finally:
            right.close()
            fast.close()

    @holds("T14", restarts=True)
    def test_schedules_survive_a_restart_of_the_service(self) -> None:
        """While it is away, the scheduler raises; afterwards it goes on where it was."""
        if not {self.broker_declares().durability, self.backend_declares().durability} <= _SURVIVE:
            raise NotDeclared("not declared: a durability that survives a restart, of both")
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            timeline = Timeline(harness)
            app = timeline.app(send_seconds=1.0)
            timeline.schedules(app).put("hourly", call("act", label="hourly"), every(hours=1))
            timeline.schedules(app).put("paused", call("act", label="paused"), every(hours=1))
            timeline.schedules(app).pause("paused")
            scheduler = timeline.scheduler(app)
            timeline.tick_at(scheduler, 1)
            with self._away():
                timeline.at(2)
                assert _refuses(scheduler), "the service is away, and the scheduler does not say so"
            timeline.tick(scheduler)
            timeline.tick_at(timeline.scheduler(timeline.app()), 3)
            assert sorted(set(timeline.instants())) == hours(1, 2, 3), "a restart has lost or repeated a tick"
            timeline.run_all(app, lambda: len(timeline.runs()) >= 3)
            assert sorted(timeline.runs().values()) == [1, 1, 1]

    @contextmanager
    def _away(self) -> Iterator[None]:
        self.pair.stop()
        try:
            yield
        finally:
            self.pair.start()


def _refuses(scheduler: Scheduler) -> bool:
    try:
        scheduler.tick()
    except ServiceError:
        return True
    return False


def _aware(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
