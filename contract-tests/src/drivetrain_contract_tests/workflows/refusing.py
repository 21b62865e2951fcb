"""Clauses W17 and W25: what a pair cannot do, and what must not be sent."""

from __future__ import annotations

from typing import Any

import pytest

from drivetrain import App, InvalidSignature, NotSupported, TaskFailed, TooLarge, chain, group
from drivetrain.contract import evolve
from drivetrain.workflow.signature import Workflow
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.app_harness import QUEUE, AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase

__all__ = ["RefusalChecks"]


class RefusalChecks(WorkflowBase):
    """What is asked for and cannot be had is refused when it is asked for."""

    @holds("W17")
    def test_a_priority_that_the_broker_does_not_know_is_refused(self) -> None:
        """The highest that is declared is taken, one above it is not; and nothing is sent."""
        levels = self.broker_declares().priority_levels
        with self.harness() as harness:
            app = harness.app()
            with pytest.raises(NotSupported, match="priorit"):
                _ = app.send(call("act", label="refused", priority=levels))
            self._check_nothing_sent(harness)
            _ = app.send(call("act", label="taken", priority=levels - 1))
            (message,) = harness.run_log.messages
            assert message.priority == levels - 1

    @holds("W17")
    def test_a_pair_that_keeps_nothing_refuses_groups(self) -> None:
        """And bodies that only the backend could keep."""
        with self.harness() as harness:
            app = harness.app(backend={"stores": False}, broker={"largest_message_bytes": 4096})
            with pytest.raises(NotSupported, match="group"):
                _ = app.send(group(call("act", label="a"), call("act", label="b")))
            with pytest.raises(TooLarge):
                _ = app.send(call("act", "x" * 5000, label="large"))
            self._check_nothing_sent(harness)

    @holds("W17")
    def test_a_result_that_is_too_large_for_the_backend_is_a_failure_that_says_so(self) -> None:
        """The task fails at its end; the handle says why, and nobody waits for ever."""
        if not self.backend_declares().stores:
            raise NotDeclared("not declared: stores")
        limit = 64 * 1024
        with self.harness() as harness:
            app: App = harness.working(backend={"largest_value_bytes": limit})
            handle = app.send(call("act", "x" * limit, label="large"))
            with pytest.raises(TaskFailed, match="TooLarge"):
                handle.get(timeout=self.patience_seconds)

    @holds("W25")
    def test_another_task_under_a_known_id_is_refused(self) -> None:
        """While the first one waits, and when it has ended; the first one's handle gives its own result."""
        with self.harness() as harness:
            app = harness.app()
            handle = app.send(call("act", label="first").set(task_id="taken"))
            self._check_refused(app)
            harness.worker(app)
            assert harness.outcome(handle) == ["first"]
            self._check_refused(app)
            harness.quiet()
            assert harness.run_log.ran() == {"first": 1}, "what was refused has run"

    @holds("W25")
    def test_an_id_is_refused_wherever_it_stands(self) -> None:
        """In a workflow or as the id of a group, in a callback or twice in one batch; and nothing is changed."""
        with self.harness() as harness:
            app = harness.app()
            _ = app.send(group(call("act", label="member")).set(group_id="group"))
            _ = app.send(call("act", label="first").set(task_id="taken"))
            known, sent = harness.backend.read(["taken", "group"]), len(harness.run_log.messages)
            fresh, last = [call("act", label=name).set(task_id=name) for name in ("fresh", "last")]
            other, members = call("caught", label="other"), [fresh, last]
            refused: dict[str, list[Workflow[Any]]] = {
                "in a chain": [chain(fresh, other.set(task_id="taken"), last)],
                "in a group": [group(fresh, other.set(task_id="taken"), last)],
                "a callback": [evolve(fresh, on_success=(other.set(task_id="taken"),)), last],
                "a group under a task's id": [group(members).set(group_id="taken")],
                "a task under a group's id": [chain(fresh, other.set(task_id="group"), last)],
                "twice in a batch": [chain(fresh, last), other.set(task_id="last")],
            }
            for where, workflows in refused.items():
                with pytest.raises(InvalidSignature, match="belongs to"):
                    app.send_many(workflows)
                assert list(harness.backend.read(["fresh", "last"])) == [None, None], f"recorded: {where}"
                assert harness.backend.read(["taken", "group"]) == known, f"changed: {where}"
                assert len(harness.run_log.messages) == sent, f"published: {where}"

    def _check_refused(self, app: App) -> None:
        with pytest.raises(InvalidSignature, match="taken"):
            _ = app.send(call("measure", "text", label="second").set(task_id="taken"))

    @holds("W25")
    def test_the_same_task_under_a_known_id_is_one_task(self) -> None:
        """Sent again before it runs and after it has ended, it runs once, and each handle gives its result."""
        # The second message is held back for as long as the first one's run may take.
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.app()
            signature = call("act", label="once").set(task_id="once")
            handles = [app.send(signature), app.send(signature)]
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [["once"]] * 2
            assert harness.outcome(app.send(signature)) == ["once"]
            harness.quiet()
            assert harness.run_log.ran() == {"once": 1}

    def _check_nothing_sent(self, harness: AppHarness) -> None:
        sizes = harness.broker.sizes([QUEUE])[QUEUE]
        assert not harness.run_log.messages, "what was refused was published"
        assert not sizes.ready, f"what was refused lies in the queue: {sizes}"
