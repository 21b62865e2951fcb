"""Clause W17: what a pair cannot do."""

from __future__ import annotations

import pytest

from drivetrain import App, NotSupported, TaskFailed, TooLarge, group
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.workflows.bench import Bench
from drivetrain_contract_tests.workflows.stage import QUEUE, Stage, call

__all__ = ["Refusing"]


class Refusing(Bench):
    """What is asked for and cannot be had is refused when it is asked for."""

    @holds("W17")
    def test_a_priority_that_the_broker_does_not_know_is_refused(self) -> None:
        """The highest that is declared is taken, one above it is not; and nothing is sent."""
        levels = self.broker_declares().priority_levels
        with self.stage() as stage:
            app = stage.app()
            with pytest.raises(NotSupported, match="priorit"):
                _ = app.send(call("act", label="refused", priority=levels))
            self._check_nothing_sent(stage)
            _ = app.send(call("act", label="taken", priority=levels - 1))
            (message,) = stage.ledger.messages
            assert message.priority == levels - 1

    @holds("W17")
    def test_a_pair_that_keeps_nothing_refuses_groups(self) -> None:
        """And bodies that only the backend could keep."""
        with self.stage() as stage:
            app = stage.app(backend={"stores": False}, broker={"largest_message_bytes": 4096})
            with pytest.raises(NotSupported, match="group"):
                _ = app.send(group(call("act", label="a"), call("act", label="b")))
            with pytest.raises(TooLarge):
                _ = app.send(call("act", "x" * 5000, label="large"))
            self._check_nothing_sent(stage)

    @holds("W17")
    def test_a_result_that_is_too_large_for_the_backend_is_a_failure_that_says_so(self) -> None:
        """The task fails at its end; the handle says why, and nobody waits for ever."""
        if not self.backend_declares().stores:
            raise NotDeclared("not declared: stores")
        limit = 64 * 1024
        with self.stage() as stage:
            app: App = stage.working(backend={"largest_value_bytes": limit})
            handle = app.send(call("act", "x" * limit, label="large"))
            with pytest.raises(TaskFailed, match="TooLarge"):
                handle.get(timeout=self.patience_seconds)

    def _check_nothing_sent(self, stage: Stage) -> None:
        sizes = stage.broker.sizes([QUEUE])[QUEUE]
        assert not stage.ledger.messages, "what was refused was published"
        assert not sizes.ready, f"what was refused lies in the queue: {sizes}"
