"""Clause W4, where the backend is a cache: what it has dropped."""

from __future__ import annotations

import pytest

from drivetrain import TaskFailed, chord, group
from drivetrain.contract import Durability
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import call
from drivetrain_contract_tests.workflows.base import WorkflowBase

__all__ = ["DroppingChecks"]


class DroppingChecks(WorkflowBase):
    """What becomes of a workflow of which a cache has dropped a part."""

    @holds("W4")
    def test_who_waits_around_a_group_that_a_cache_has_dropped_is_told(self) -> None:
        """A group within a group is gone when its members end: the one around it fails, and nothing goes on."""
        if self.backend_declares().durability is not Durability.CACHE:
            raise NotDeclared("durability: cache")
        with self.harness() as harness:
            app = harness.app()
            dropped = group(call("wait", label="w"), call("act", label="member")).set(group_id="dropped")
            inner = chord(dropped, call("act", label="inner next"))
            handle = app.send(chord([inner, call("act", label="other")], call("act", label="outer next")))
            harness.worker(app)
            assert harness.gates["w 0"].reached.wait(self.patience_seconds), "the task has not begun"
            harness.backend.forget(["dropped"])  # all that a cache can drop of it
            harness.gates["w 0"].opened.set()
            with pytest.raises(TaskFailed) as caught:
                handle.get(timeout=self.patience_seconds)
            assert caught.value.failure.type == "drivetrain.ResultLost", f"the cause is {caught.value.failure.type}"
            harness.quiet()
            ran = harness.run_log.ran()
            assert not [label for label in ran if label.endswith("next")], f"something went on after a loss: {ran}"
