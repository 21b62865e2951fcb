"""Clause W10: workers that die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from drivetrain import Result, chain
from drivetrain.contract import State, Transition
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun
from drivetrain_contract_tests.workflows import killed_worker
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Fault, Faults, Moment
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.killed_worker import STEPS, Runs
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import STORIES, Story, story_of

__all__ = ["CrashChecks"]


#: Longer than the suite waits for anything.
_LONG_SECONDS = 600.0
#: How often the task that kills may be started. So often that a few of its starts happen beside others.
_MAX_STARTS = 3
#: How many workers may die of it: of one start more, and one before it was recorded that the task was started.
_MOST_DEATHS = _MAX_STARTS + 2
#: Tasks each of which kills one worker, and how often each may be started: two starts beside the others make suspects
#: of them all; then each needs one start that kills and one that succeeds, and one more is to spare.
_STUBBORN, _STUBBORN_STARTS = 5, 4


@frozen
class _Death:
    """In which story a worker dies, and where."""

    story: str
    fault: Fault | None


@frozen
class _Kill:
    """In which story a process is killed, and when it comes to which step for the how manieth time."""

    story: str
    step: str
    nth: int


@frozen
class _RunsBeforeDeath:
    """What had run when the worker died, by task id and attempt, and which of it had ended."""

    runs: Counter[tuple[str, int]]
    finished: set[tuple[str, int]]

    def allowed(self, run: tuple[str, int]) -> int:
        """How often it may have run in the end: what had not ended runs once more, and nothing else does."""
        return self.runs[run] + (run not in self.finished)


class CrashChecks(WorkflowBase):
    """What a dead worker leaves behind, another one finishes."""

    @holds("W10")
    def test_a_worker_that_dies_between_two_steps_loses_nothing(self) -> None:
        """It dies before or after any call; to the services, a worker that makes no further call is dead."""
        calls = self.at_once(self._play_death, [_Death(story, None) for story in STORIES])
        deaths = [death for story, number in zip(STORIES, calls, strict=True) for death in self._deaths(story, number)]
        self.at_once(self._play_death, deaths)

    def _deaths(self, story: str, calls: int) -> list[_Death]:
        faults = [Fault(number, moment, lasts=True) for number in range(1, calls + 1) for moment in Moment]
        some = Random(f"{self.profile.seed} {story}").sample(faults, min(len(faults), self.profile.races))
        return [_Death(story, fault) for fault in some]

    def _play_death(self, death: _Death) -> int:
        """Play a story with a death; how many calls the first worker has made."""
        faults = Faults(death.fault)
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            story = story_of(harness, STORIES[death.story])
            handle = harness.app().send(story.workflow)
            self._work_until_death(harness, handle, faults, story)
            self._finish(harness, story, handle, details=f"{death}; calls: {faults.calls}")
            return len(faults.calls)

    def _work_until_death(self, harness: AppHarness, handle: Result[Any], faults: Faults, story: Story) -> None:
        app = harness.app(faults=faults, concurrency=1)
        worker = harness.worker(app)

        def over() -> bool:
            return faults.struck.is_set() or (handle.wait(0) and harness.run_log.ran() == story.ran and harness.empty())

        until(over, "the worker dies, or does all", self.patience_seconds)
        if faults.struck.is_set():
            harness.disconnect(app)
            worker.stop(grace_seconds=0.0)

    @holds("W10")
    def test_a_message_whose_task_seems_to_run_is_kept(self) -> None:
        """A dead worker has left a start with a lease: its task runs when that lease is over."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.app()
            handle = app.send(call("act", label="begun"))
            lease = self.short_lease_seconds
            dead = Transition(task_id=handle.id, state=State.STARTED, at=time.time(), run="of the dead", lease=lease)
            assert app.runtime.backend.record([dead])[0].applied, "a task that was sent cannot be started"
            harness.worker(app)
            assert harness.outcome(handle) == ["begun"], "the message of a task is lost whose worker has died"

    @holds("W10")
    def test_a_worker_process_that_is_killed_loses_nothing(self) -> None:
        """With SIGKILL, between any two steps; another process finishes what it leaves behind."""
        self._require_processes()
        kills = [_Kill(story, step, nth) for story in STORIES for step in STEPS for nth in range(1, 4)]
        some = min(len(kills), len(STORIES) * max(1, self.profile.races // 5))
        # Processes that begin do not wait: more of them at once would only keep all others from working.
        self.at_once(self._play_kill, Random(self.profile.seed).sample(kills, some), players=3)

    def _play_kill(self, kill: _Kill) -> None:
        with self.harness(lease_seconds=self.short_lease_seconds) as harness, TemporaryDirectory() as directory:
            story = story_of(harness, STORIES[kill.story])
            handle = harness.app().send(story.workflow)
            runs = Runs(Path(directory, "runs"))
            # Where it has not come to that step so often, it dies when all is done.
            self._work_until_killed(harness, kill, Path(directory, "runs"), done=lambda: handle.wait(0))
            harness.run_log.take_over(runs.read())
            self._finish(harness, story, handle, details=str(kill))

    def _work_until_killed(
        self, harness: AppHarness, kill: _Kill, path: Path, *, done: Callable[[], bool], **settings: Any
    ) -> None:
        urls = self.pair.broker.url(harness.namespace), self.pair.backend.url(harness.namespace)
        where = str(path), str(self.short_lease_seconds), kill.step, str(kill.nth), json.dumps(settings)
        command = [sys.executable, "-m", killed_worker.__name__, *urls, *where, self.pair.prelude]
        process = subprocess.Popen(command)  # noqa: S603  our own
        try:
            until(lambda: process.poll() is not None or done(), "the worker dies", 3 * self.patience_seconds)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL, f"the worker has ended by itself: {process.returncode}"

    def _require_processes(self) -> None:
        if not (self.broker_declares().shared and self.backend_declares().shared):
            raise NotDeclared("not declared: shared, of both")
        if self.pair.made_here:
            raise NotDeclared("its author's factory makes the drivers, which other processes cannot")

    @holds("W21")
    def test_a_task_that_kills_its_worker_makes_no_other_task_fail(self) -> None:
        """It goes to the dead letters; what was started beside it does not, however many workers die.

        How often a task was started alone is in the payload of its record, which a start keeps or replaces.
        """
        self._require_processes()
        with self.harness(lease_seconds=self.short_lease_seconds) as harness, TemporaryDirectory() as directory:
            kill, labels = _Kill("killer", "function killer", 1), [f"beside{number}" for number in range(5)]
            order = [*labels[:2], "killer", *labels[2:]]
            handles = harness.app().send_many([call("act", label=label) for label in order])
            killer, others = handles.pop(2), handles

            def done() -> bool:
                return all(handle.wait(0) for handle in (killer, *others)) and bool(harness.dead())

            deaths, path = 0, Path(directory, "runs")
            while not done():
                assert deaths < _MOST_DEATHS, f"{deaths} workers have died of one task, and it is not put aside"
                self._work_until_killed(harness, kill, path, done=done, concurrency=8, max_starts=_MAX_STARTS)
                deaths += 1
            begun = sum(run.label == "killer" for run in Runs(path).read())
            assert begun <= _MAX_STARTS + 1, f"it began {begun} times, and max_starts is {_MAX_STARTS}"
            outcomes = [harness.outcome(handle) for handle in (killer, *others)]
            assert outcomes == [FAILED, *([label] for label in labels)], f"after {deaths} deaths: {outcomes}"
            dead = set(harness.dead())
            assert dead == {killer.id}, f"{len(dead)} messages lie in the dead letters, and one task was to blame"

    @holds("W21")
    def test_tasks_that_kill_their_worker_once_do_not_use_up_the_starts_of_each_other(self) -> None:
        """Each of several tasks kills one worker and succeeds when it begins again, whatever order they run in.

        A worker that counts a start before the task begins counts the deaths of the others against those that wait.
        """
        self._require_processes()
        if self.profile.name == "quick":
            raise NotRun("it starts six processes, one after the other: too many for the profile quick")
        with self.harness(lease_seconds=self.short_lease_seconds) as harness, TemporaryDirectory() as directory:
            handles = harness.app().send_many([call("act", label="stubborn") for _ in range(_STUBBORN)])
            kill, path = _Kill("stubborn", "once stubborn", 1), Path(directory, "runs")

            def done() -> bool:
                return all(handle.wait(0) for handle in handles)

            for _ in range(_STUBBORN + 1):  # one death for each, and one worker that finishes
                if not done():
                    self._work_until_killed(harness, kill, path, done=done, concurrency=8, max_starts=_STUBBORN_STARTS)
            outcomes = [harness.outcome(handle) for handle in handles]
            assert outcomes == [["stubborn"]] * _STUBBORN, f"each task killed its worker once; their ends: {outcomes}"
            assert not harness.dead(), "a task that may be started again lies in the dead letters"

    @holds("W19")
    def test_a_worker_that_is_stopped_gives_back_what_it_has_not_begun(self) -> None:
        """It finishes what it runs within its grace; others run what it has received besides, before a hold is over."""
        with self._long_harness() as harness:
            sender = harness.app()
            _ = sender.send(call("wait", label="w"))
            worker = harness.hoarder(harness.app(concurrency=1))
            assert harness.gates["w 0"].reached.wait(self.patience_seconds), "the task has not begun"
            labels = [f"rest{number}" for number in range(6)]
            handles = sender.send_many([call("act", label=each) for each in labels])
            for handle in handles:
                until(partial(harness.started, handle), "it waits in the worker", self.patience_seconds)
            worker.stop(grace_seconds=self.patience_seconds, wait=False)
            harness.working()
            assert [harness.outcome(handle) for handle in handles] == [[each] for each in labels]
            harness.gates.open_all()
            worker.stop()
            harness.quiet()
            self.check_ran(harness, Counter(["w", *labels]))

    @holds("W10", "W13", "W19")
    def test_a_worker_that_is_stopped_gives_back_what_it_runs(self) -> None:
        """At the end of its grace, and another runs it, long before a lease is over; what the first says is late."""
        with self._long_harness() as harness:
            first = harness.app()
            worker = harness.worker(first)
            handle = harness.app().send(chain(call("wait", label="w"), call("act", label="next")))
            assert harness.gates["w 0"].reached.wait(self.patience_seconds), "the task has not begun"
            worker.stop(grace_seconds=0.1)
            harness.working()
            assert harness.gates["w 1"].reached.wait(self.patience_seconds), "what a stopped worker ran is lost"
            harness.gates.open_all()
            outcome = harness.outcome(handle)
            assert outcome == ["next", "run 1"], f"it gives {outcome}, and not what the second run gives"
            harness.quiet()
            self.check_ran(harness, Counter({"w": 2, "next": 1}))

    def _long_harness(self) -> AppHarness:
        """A harness whose leases and holds last longer than the suite waits: nothing comes back by their end."""
        return self.harness(
            lease_seconds=min(_LONG_SECONDS, self.broker_declares().longest_hold_seconds or _LONG_SECONDS)
        )

    def _finish(self, harness: AppHarness, story: Story, handle: Result[Any], *, details: str) -> None:
        """Let another worker finish the work of a dead one."""
        runs = harness.run_log.attempts()
        before = _RunsBeforeDeath(runs, _finished(harness, runs))
        harness.working()
        self._check(harness, story, handle, before, details=details)

    def _check(
        self, harness: AppHarness, story: Story, handle: Result[Any], before: _RunsBeforeDeath, *, details: str
    ) -> None:
        outcome = harness.outcome(handle)
        harness.run_log.wait_for(lambda ran: not story.ran - ran, self.patience_seconds)
        harness.quiet()
        ran, after = harness.run_log.ran(), harness.run_log.attempts()
        self.check_counts(
            lost=(story.ran - ran).total() + harness.unfinished(handle),
            unexpected=int(outcome != story.result) + len(set(ran) - set(story.ran)),
            duplicated=sum(max(0, count - before.allowed(run)) for run, count in after.items()),
            recovered=len(after) - len(before.finished),
            details=f"{details}; {outcome}; {ran}; before: {before.runs}",
        )


def _finished(harness: AppHarness, runs: Counter[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those attempts whose end is recorded."""
    records = harness.backend.read([task_id for task_id, _ in runs])
    return {
        (task_id, attempt)
        for (task_id, attempt), record in zip(runs, records, strict=True)
        if record is not None and (record.state.terminal or record.attempt > attempt or record.state is State.RETRY)
    }
