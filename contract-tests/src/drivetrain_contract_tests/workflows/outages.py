"""Clauses W11 to W13: calls that fail, messages that come twice or late, workers that have lost their lease."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import frozen

from drivetrain import App, chain, group
from drivetrain.contract import Hold
from drivetrain.worker.worker import Worker
from drivetrain.workflow.signature import Signature
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import LOST, AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Fault, Faults, Moment
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import STORIES, story_of

__all__ = ["OutageChecks"]


#: A lease that workers which are alive renew in time, on a machine on which much else runs.
_ALIVE_SECONDS = 3.0
#: How long a retry is delayed while another message of its task comes.
_RETRY_SECONDS = 0.4


@frozen
class _Case:
    """A story, and where it is disturbed."""

    story: str
    side: str
    fault: Fault | None = None


class OutageChecks(WorkflowBase):
    """What happens when a service, or the way to it, fails for a while."""

    @holds("W11")
    def test_a_call_that_fails_changes_nothing(self) -> None:
        """Small workflows with one call that fails, of a worker or of a sender, before or after it was done."""
        plain = [_Case(story, side) for story in STORIES for side in ("worker", "sender")]
        numbers = self.at_once(self._play_disturbed, plain)
        cases = [one for case, number in zip(plain, numbers, strict=True) for one in self._disturbed(case, number)]
        self.at_once(self._play_disturbed, cases)

    def _disturbed(self, case: _Case, calls: int) -> list[_Case]:
        faults = [Fault(number, moment) for number in range(1, calls + 1) for moment in Moment]
        some = Random(f"{self.profile.seed} {case}").sample(faults, min(len(faults), self.profile.races))
        return [_Case(case.story, case.side, fault) for fault in some]

    def _play_disturbed(self, case: _Case) -> int:
        """Play a case; how many calls there were."""
        faults = Faults(case.fault)
        # Nobody dies here, so no lease must end; one is waited for only where the reply of a receive is lost.
        with self.harness(lease_seconds=max(_ALIVE_SECONDS, self.short_lease_seconds)) as harness:
            sender = harness.app(faults=faults if case.side == "sender" else None)
            harness.working(faults=faults if case.side == "worker" else None)
            self._tell(harness, sender, faults, case)
            return len(faults.calls)

    def _tell(self, harness: AppHarness, sender: App, faults: Faults, case: _Case) -> None:
        story, before = story_of(harness, STORIES[case.story]), harness.run_log.ran()
        handle = sender.send(story.workflow)
        outcome = harness.outcome(handle)
        harness.run_log.wait_for(lambda ran: not story.ran - (ran - before), self.patience_seconds)
        harness.quiet()
        ran = harness.run_log.ran() - before
        self.check_counts(
            lost=(story.ran - ran).total() + harness.unfinished(handle),
            unexpected=int(outcome != story.result) + len(set(ran) - set(story.ran)),
            duplicated=sum(count - 1 for count in harness.run_log.attempts().values()),
            recovered=story.ran.total() if faults.struck.is_set() else 0,
            details=f"{case}; {outcome}; {ran}; calls: {faults.calls}",
        )

    @holds("W11")
    def test_replies_that_are_lost_again_and_again_change_nothing(self) -> None:
        """Many tasks, and every other reply of every kind is lost; each run and each result is as without that."""
        faults = Faults(every_other=True)
        # A message that was published once more waits until the lease of the first one's run is over.
        with self.harness(lease_seconds=max(_ALIVE_SECONDS, self.short_lease_seconds)) as harness:
            sender = harness.app()
            crowd = [call("act", label=f"crowd{number}") for number in range(12)]
            handles = sender.send_many([*crowd[:6], group(crowd[6:]), chain(*self._row(4))])
            harness.working(faults=faults, concurrency=1, prefetch_limit=2)
            lost = sum(harness.outcome(handle) == LOST for handle in handles)
            harness.quiet()
            ran = harness.run_log.ran()
            again = sum(count - 1 for count in ran.values())
            recovered = len(ran) if faults.struck.is_set() else 0
            counts = {"lost": lost, "unexpected": 0, "duplicated": again, "recovered": recovered}
            self.check_counts(**counts, details=f"{ran}; calls: {faults.calls}")

    def _row(self, number: int) -> list[Signature[Any]]:
        return [call("act", label=f"row{index}") for index in range(number)]

    @holds("W12")
    def test_messages_that_are_delivered_twice_run_once(self) -> None:
        """Every message is published twice; each attempt of each task runs once."""
        self.at_once(self._play_twice, list(STORIES))

    def _play_twice(self, name: str) -> None:
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.working(faults=Faults(twice=True))
            harness.working()
            self._tell(harness, app, Faults(), _Case(name, "twice"))

    @holds("W12")
    def test_a_message_that_comes_while_its_retry_is_due_runs_nothing(self) -> None:
        """The message of the first attempt once more, before the second attempt."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.working(retry_seconds=_RETRY_SECONDS)
            handle = app.send(call("flaky", label="again"))
            first = harness.run_log.messages[:1]
            until(lambda: len(harness.run_log.messages) > 1, "the retry is published", self.patience_seconds)
            harness.broker.publish(first)
            assert harness.outcome(handle) == ["again"]
            assert [run.attempt for run in harness.run_log.runs] == [0, 1], f"runs: {harness.run_log.runs}"

    @holds("W12")
    def test_messages_that_come_late_run_nothing_again(self) -> None:
        """Every message once more, after the workflow has ended."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.working()
            for name in STORIES:
                self._tell(harness, app, Faults(), _Case(name, "on time"))
            before, messages = harness.run_log.attempts(), harness.run_log.messages
            harness.broker.publish(messages)
            harness.quiet()
            again = harness.run_log.attempts() - before
            self.check_counts(
                lost=0, unexpected=0, duplicated=again.total(), recovered=0, details=f"{again} ran for late messages"
            )

    @holds("W13")
    def test_a_worker_that_has_lost_its_lease_changes_nothing(self) -> None:
        """One that was cut off while it ran a task returns when another is running it: the other's result stands."""
        faults = Faults()
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            cut_off, sender = harness.app(faults=faults), harness.app()
            worker = harness.worker(cut_off)
            handle = sender.send(chain(call("wait", label="w"), call("act", label="next")))
            first, second = harness.gates["w 0"], harness.gates["w 1"]
            assert first.reached.wait(self.patience_seconds), "the task has not begun"
            self._cut_off(harness, cut_off, faults)
            harness.working()
            assert second.reached.wait(self.patience_seconds), "nobody has taken over from a worker that is cut off"
            faults.away.clear()
            first.opened.set()
            self._let_go(harness, worker)
            assert not handle.wait(0.1), "a worker without a lease has ended the task that another runs"
            second.opened.set()
            outcome = harness.outcome(handle)
            assert outcome == ["next", "run 1"], f"it gives {outcome}, and not what the run gives that took over"
            harness.quiet()
            assert harness.run_log.ran() == {"w": 2, "next": 1}

    def _cut_off(self, harness: AppHarness, app: App, faults: Faults) -> None:
        faults.away.set()
        if app.runtime.broker.capabilities.hold is Hold.CONNECTION:
            harness.disconnect(app)

    def _let_go(self, harness: AppHarness, worker: Worker) -> None:
        worker.stop(grace_seconds=harness.patience_seconds)
