"""Clause W28: an operator retries a task that has ended without success."""

from __future__ import annotations

from typing import Any

from drivetrain import Signature, chain, chord, group, retry
from drivetrain.app.bulk.outcomes import Verdict
from drivetrain.contract import State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import LOST, AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.interpreter import FAILED

__all__ = ["RetryChecks"]


class RetryChecks(WorkflowBase):
    """A task that has failed runs again, and what waited for it goes on."""

    @holds("W28")
    def test_a_retry_goes_on_with_a_workflow(self) -> None:
        """With the chain and the groups around the failed tasks. What has succeeded does not run again."""
        if not self.backend_declares().stores:
            raise NotDeclared("not declared: stores")
        with self.harness() as harness:
            app = harness.working()
            first, other = [self._failing(harness, label) for label in ("first", "other")]
            inner = chain(call("act", label="before"), first, call("act", label="after"))
            members = group(call("act", label="member"), inner, chain(other, call("act", label="last")))
            handle = app.send(chord(members, call("act", label="callback")) | call("act", label="end"))
            assert harness.outcome(handle) is FAILED, "the workflow does not fail, and it should"
            # It fails with the first member that does; a retry needs the end of the others.
            assert not harness.unfinished(handle), "not all tasks of the failed workflow have ended"
            self._retry(harness, f"{harness.namespace}.first")
            outcome = harness.outcome(handle)
            assert outcome is not FAILED, "the workflow fails again"
            assert outcome is not LOST, "the workflow does not end"
            ran = harness.run_log.ran()
            expected = {
                "before": 1,
                "first": 2,
                "after": 1,
                "member": 1,
                "other": 2,
                "last": 1,
                "callback": 1,
                "end": 1,
            }
            assert dict(ran) == expected, f"the tasks have run {dict(ran)} times, not {expected}"
            records = harness.records(handle)
            assert {record and record.state for record in records} == {State.SUCCESS}
            (record,) = harness.backend.read([f"{harness.namespace}.first"])
            assert record is not None
            assert record.attempt == 1, f"the attempt of a task that was retried is {record.attempt}, not 1"

    @staticmethod
    def _failing(harness: AppHarness, label: str) -> Signature[Any]:
        return call("flaky", label=label).set(retry=retry.never(), task_id=f"{harness.namespace}.{label}")

    def _retry(self, harness: AppHarness, task_id: str) -> None:
        (outcome,) = harness.app().operations.retry(task_id)
        assert outcome.verdict is Verdict.DONE, f"the retry is refused: {outcome.reason}"
