"""Clause W10: workers that die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from drivetrain import Result, chain
from drivetrain.contract import State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun
from drivetrain_contract_tests.workflows import killed_worker
from drivetrain_contract_tests.workflows.app_harness import Stage, call
from drivetrain_contract_tests.workflows.base import Bench
from drivetrain_contract_tests.workflows.faults import Fault, Faults, Moment
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.killed_worker import STEPS, Runs
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import STORIES, Story, told

__all__ = ["Dying"]


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
class _Left:
    """What had run when the worker died, by task id and attempt, and which of it had ended."""

    runs: Counter[tuple[str, int]]
    finished: set[tuple[str, int]]

    def allowed(self, run: tuple[str, int]) -> int:
        """How often it may have run in the end: what had not ended runs once more, and nothing else does."""
        return self.runs[run] + (run not in self.finished)


class Dying(Bench):
    """What a dead worker leaves behind, another one finishes."""

    @holds("W10")
    def test_a_worker_that_dies_between_two_steps_loses_nothing(self) -> None:
        """It dies before or after any call; to the services, a worker that calls no more and a dead one are alike."""
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
        with self.stage(lease_seconds=self.short_lease_seconds) as stage:
            story = told(stage, STORIES[death.story])
            handle = stage.app().send(story.workflow)
            self._work_until_death(stage, handle, faults, story)
            self._finish(stage, story, handle, told=f"{death}; calls: {faults.calls}")
            return len(faults.calls)

    def _work_until_death(self, stage: Stage, handle: Result[Any], faults: Faults, story: Story) -> None:
        app = stage.app(faults=faults, concurrency=1)
        worker = stage.worker(app)

        def over() -> bool:
            return faults.struck.is_set() or (handle.wait(0) and stage.ledger.ran() == story.ran and stage.empty())

        until(over, "the worker dies, or does all", self.patience_seconds)
        if faults.struck.is_set():
            stage.disconnect(app)
            worker.stop(grace_seconds=0.0)

    @holds("W10")
    def test_a_worker_process_that_is_killed_loses_nothing(self) -> None:
        """With SIGKILL, between any two steps; another process finishes what it leaves behind."""
        self._require_processes()
        kills = [_Kill(story, step, nth) for story in STORIES for step in STEPS for nth in range(1, 4)]
        some = min(len(kills), len(STORIES) * max(1, self.profile.races // 5))
        # Processes that begin do not wait: more of them at once would only keep all others from working.
        self.at_once(self._play_kill, Random(self.profile.seed).sample(kills, some), players=3)

    def _play_kill(self, kill: _Kill) -> None:
        with self.stage(lease_seconds=self.short_lease_seconds) as stage, TemporaryDirectory() as directory:
            story = told(stage, STORIES[kill.story])
            handle = stage.app().send(story.workflow)
            runs = Runs(Path(directory, "runs"))
            # Where it has not come to that step so often, it dies when all is done.
            self._work_until_killed(stage, kill, Path(directory, "runs"), done=lambda: handle.wait(0))
            stage.ledger.take_over(runs.read())
            self._finish(stage, story, handle, told=str(kill))

    def _work_until_killed(
        self, stage: Stage, kill: _Kill, path: Path, *, done: Callable[[], bool], **settings: Any
    ) -> None:
        urls = self.pair.broker.url(stage.namespace), self.pair.backend.url(stage.namespace)
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
        with self.stage(lease_seconds=self.short_lease_seconds) as stage, TemporaryDirectory() as directory:
            kill, labels = _Kill("killer", "function killer", 1), [f"beside{number}" for number in range(5)]
            order = [*labels[:2], "killer", *labels[2:]]
            handles = stage.app().send_many([call("act", label=label) for label in order])
            killer, others = handles.pop(2), handles

            def done() -> bool:
                return all(handle.wait(0) for handle in (killer, *others)) and bool(stage.dead())

            deaths, path = 0, Path(directory, "runs")
            while not done():
                assert deaths < _MOST_DEATHS, f"{deaths} workers have died of one task, and it is not put aside"
                self._work_until_killed(stage, kill, path, done=done, concurrency=8, max_starts=_MAX_STARTS)
                deaths += 1
            begun = sum(run.label == "killer" for run in Runs(path).read())
            assert begun <= _MAX_STARTS + 1, f"it began {begun} times, and max_starts is {_MAX_STARTS}"
            outcomes = [stage.outcome(handle) for handle in (killer, *others)]
            assert outcomes == [FAILED, *([label] for label in labels)], f"after {deaths} deaths: {outcomes}"
            dead = set(stage.dead())
            assert dead == {killer.id}, f"{len(dead)} messages lie in the dead letters, and one task was to blame"

    @holds("W21")
    def test_tasks_that_kill_their_worker_once_do_not_use_up_the_starts_of_each_other(self) -> None:
        """Each of several tasks kills one worker and succeeds when it begins again, whatever order they run in.

        A worker that counts a start before the task begins counts the deaths of the others against those that wait.
        """
        self._require_processes()
        if self.profile.name == "quick":
            raise NotRun("it starts six processes, one after the other: too many for the profile quick")
        with self.stage(lease_seconds=self.short_lease_seconds) as stage, TemporaryDirectory() as directory:
            handles = stage.app().send_many([call("act", label="stubborn") for _ in range(_STUBBORN)])
            kill, path = _Kill("stubborn", "once stubborn", 1), Path(directory, "runs")

            def done() -> bool:
                return all(handle.wait(0) for handle in handles)

            for _ in range(_STUBBORN + 1):  # one death for each, and one worker that finishes
                if not done():
                    self._work_until_killed(stage, kill, path, done=done, concurrency=8, max_starts=_STUBBORN_STARTS)
            outcomes = [stage.outcome(handle) for handle in handles]
            assert outcomes == [["stubborn"]] * _STUBBORN, f"each task killed its worker once; their ends: {outcomes}"
            assert not stage.dead(), "a task that may be started again lies in the dead letters"

    @holds("W19")
    def test_a_worker_that_is_stopped_gives_back_what_it_has_not_begun(self) -> None:
        """It finishes what it runs within its grace; others run what it has received besides, before a hold is over."""
        with self.stage() as stage:
            sender = stage.app()
            _ = sender.send(call("wait", label="w"))
            worker = stage.worker(stage.app(concurrency=1))
            assert stage.gates["w 0"].reached.wait(self.patience_seconds), "the task has not begun"
            labels = [f"rest{number}" for number in range(6)]
            handles = sender.send_many([call("act", label=each) for each in labels])
            worker.stop(grace_seconds=self.patience_seconds, wait=False)
            stage.working()
            assert [stage.outcome(handle) for handle in handles] == [[each] for each in labels]
            stage.gates.open_all()
            worker.stop()
            stage.quiet()
            self.check_ran(stage, Counter(["w", *labels]))

    @holds("W10", "W13", "W19")
    def test_a_worker_that_is_stopped_gives_back_what_it_runs(self) -> None:
        """At the end of its grace, and another runs it, long before a lease is over; what the first says is late."""
        with self.stage() as stage:
            first = stage.app()
            worker = stage.worker(first)
            handle = stage.app().send(chain(call("wait", label="w"), call("act", label="next")))
            assert stage.gates["w 0"].reached.wait(self.patience_seconds), "the task has not begun"
            worker.stop(grace_seconds=0.1)
            stage.working()
            assert stage.gates["w 1"].reached.wait(self.patience_seconds), "what a stopped worker ran is lost"
            stage.gates.open_all()
            outcome = stage.outcome(handle)
            assert outcome == ["next", "run 1"], f"it gives {outcome}, and not what the second run gives"
            stage.quiet()
            self.check_ran(stage, Counter({"w": 2, "next": 1}))

    def _finish(self, stage: Stage, story: Story, handle: Result[Any], *, told: str) -> None:
        """Let another worker finish what a dead one has left behind."""
        runs = stage.ledger.attempts()
        left = _Left(runs, _finished(stage, runs))
        stage.working()
        self._check(stage, story, handle, left, told=told)

    def _check(self, stage: Stage, story: Story, handle: Result[Any], left: _Left, *, told: str) -> None:
        outcome = stage.outcome(handle)
        stage.ledger.wait_for(lambda ran: not story.ran - ran, self.patience_seconds)
        stage.quiet()
        ran, after = stage.ledger.ran(), stage.ledger.attempts()
        self.check_counts(
            lost=(story.ran - ran).total() + stage.unfinished(handle),
            unexpected=int(outcome != story.result) + len(set(ran) - set(story.ran)),
            duplicated=sum(max(0, count - left.allowed(run)) for run, count in after.items()),
            recovered=len(after) - len(left.finished),
            told=f"{told}; {outcome}; {ran}; before: {left.runs}",
        )


def _finished(stage: Stage, runs: Counter[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those attempts whose end is recorded."""
    records = stage.backend.read([task_id for task_id, _ in runs])
    return {
        (task_id, attempt)
        for (task_id, attempt), record in zip(runs, records, strict=True)
        if record is not None and (record.state.terminal or record.attempt > attempt or record.state is State.RETRY)
    }
