"""Clauses W1 to W3: what workflows give, and how often their tasks run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import example, given

from drivetrain import App, chain, chord, group
from drivetrain.workflow.signature import Workflow
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.examples import Examples
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import story_of
from drivetrain_contract_tests.workflows.strategies import KNOWN, trees

__all__ = ["ExecutionChecks"]


class ExecutionChecks(WorkflowBase):
    """Workflows around which nothing fails."""

    @holds("W1", "W2", "W4", "W9")
    def test_random_workflows_give_what_the_reference_gives(self) -> None:
        """Results, sends and runs of nested workflows with failures, retries and callbacks, on two workers."""
        shrink_seconds = self.shrink_seconds if self.profile.shrinks else 0.0
        with Examples(self.harness, shrink_seconds=shrink_seconds) as examples:

            @_known
            @self.profile.settings()
            @given(trees())
            def play(workflow: Workflow[Any]) -> None:
                examples.play(repr(workflow), lambda harness, app: self._play_example(harness, app, workflow))

            play()

    def _play_example(self, harness: AppHarness, app: App, workflow: Workflow[Any]) -> None:
        story, before, runs = story_of(harness, workflow), harness.run_log.ran(), harness.run_log.runs
        handle = app.send(story.workflow)
        outcome = harness.outcome(handle)
        assert outcome == story.result, f"it gives {outcome}, and should give {story.result}"
        wanted = before + story.ran
        harness.run_log.wait_for(lambda ran: not wanted - ran, self.patience_seconds)
        harness.quiet()
        self.check_ran(harness, wanted)
        ids = {ran.task_id for ran in harness.run_log.runs[len(runs) :]}
        sends, ran = harness.run_log.sends(), Counter(one.task_id for one in harness.run_log.runs)
        assert {one: sends[one] for one in ids} == {one: ran[one] for one in ids}, "sent more or less often than run"
        assert not harness.unfinished(handle), f"not all of it has ended: {harness.records(handle)}"

    @holds("W3")
    def test_a_large_chords_callback_runs_once_with_the_results_in_order(self) -> None:
        """Hundreds of members on two workers; the callback has all results, in the order of the group."""
        number = max(10, self.profile.large // 10)
        with self.harness() as harness:
            harness.patience_seconds *= max(1.0, number / 100)
            app = harness.working(concurrency=8)
            harness.working(concurrency=8)
            labels = [f"m{index}" for index in range(number)]
            handle = app.send(chord(group(call("act", label=each) for each in labels), call("act", label="all")))
            in_order = harness.outcome(handle) == ["all", [[each] for each in labels]]
            assert in_order, "the callback has not had all results in the order of the group"
            harness.quiet()
            self._check_callback(harness, "all")
            self.check_ran(harness, Counter([*labels, "all"]))

    @holds("W3")
    def test_members_that_end_in_reverse_give_their_results_in_order(self) -> None:
        """The last member of a chord ends first, and the first last; the callback has the results in their order."""
        labels = ["a", "b", "c"]
        with self.harness() as harness:
            app = harness.working(concurrency=4)
            members = [chain(call("wait", label=each), call("act", label=f"{each} end")) for each in labels]
            handle = app.send(chord(group(members).set(group_id="backwards"), call("act", label="all")))
            gates = {each: harness.gates[f"{each} 0"] for each in labels}
            assert all(gate.reached.wait(self.patience_seconds) for gate in gates.values()), "a member has not begun"
            for complete, each in enumerate(reversed(labels), 1):
                gates[each].opened.set()
                if complete < len(labels):
                    self._await_members(harness, "backwards", complete)
            outcome = harness.outcome(handle)
            wanted = ["all", [[f"{each} end", "run 0"] for each in labels]]
            assert outcome == wanted, f"members that ended in reverse give {outcome}, and should give {wanted}"
            harness.quiet()
            self._check_callback(harness, "all")

    def _await_members(self, harness: AppHarness, group_id: str, number: int) -> None:
        def complete() -> bool:
            (found,) = harness.backend.read_groups([group_id])
            return found is not None and found.done >= number

        until(complete, f"{number} members are complete", self.patience_seconds)

    @holds("W3")
    def test_members_that_end_together_complete_their_chord_once(self) -> None:
        """Two workers end the two members of a chord at the same instant, again and again."""
        with self.harness() as harness:
            apps = [harness.working(concurrency=1), harness.working(concurrency=1)]
            for turn in range(self.profile.races):
                self._race(harness, apps[0], turn)
            harness.quiet()
            for turn in range(self.profile.races):
                self._check_callback(harness, f"all{turn}")

    def _race(self, harness: AppHarness, app: App, turn: int) -> None:
        members = [f"{turn}.{index}" for index in range(2)]
        header = group(call("wait", label=each) for each in members)
        handle = app.send(chord(header, call("act", label=f"all{turn}")))
        gates = [harness.gates[f"{each} 0"] for each in members]
        assert all(gate.reached.wait(self.patience_seconds) for gate in gates), "two workers do not run two members"
        _open_together([gate.opened for gate in gates])
        assert harness.outcome(handle) == [f"all{turn}", ["run 0", "run 0"]]

    def _check_callback(self, harness: AppHarness, label: str) -> None:
        runs = harness.run_log.of(label)
        assert len(runs) == 1, f"the callback {label} ran {len(runs)} times"
        sends = harness.run_log.sends()[runs[0].task_id]
        assert sends == 1, f"the callback {label} was published {sends} times"


def _known(play: Callable[[], None]) -> Callable[[], None]:
    """Let a property be tried on the known workflows first."""
    for workflow in reversed(KNOWN):
        play = example(workflow)(play)
    return play


def _open_together(events: list[threading.Event]) -> None:
    for event in events:
        event.set()
