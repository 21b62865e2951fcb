"""Clause W28: what a cancellation answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from drivetrain import App, Result, chain
from drivetrain.contract import State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.bench import Bench
from drivetrain_contract_tests.workflows.faults import Faults
from drivetrain_contract_tests.workflows.stage import Stage, call

__all__ = ["Cancelling"]


@define(eq=False)
class _JustBefore(Faults):
    """Nothing fails, but something happens right before the first ``record``."""

    happens: Callable[[], None] | None = None

    def call(self, method: str, function: Callable[[], Any]) -> Any:
        """Do the call."""
        if method == "record" and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return super().call(method, function)


class Cancelling(Bench):
    """A cancellation answers what became of the tasks."""

    @holds("W28")
    def test_a_task_that_ends_while_it_is_cancelled_is_not_said_to_be_cancelled(self) -> None:
        """Nor is what follows it cancelled."""
        with self.stage() as stage:
            first_id = f"{stage.namespace}.first"
            first = call("wait", label="w").set(task_id=first_id)
            handle = stage.working().send(chain(first, call("act", label="next")))
            gate = stage.gates["w 0"]
            assert gate.reached.wait(self.patience_seconds), "the task has not begun"

            def end() -> None:
                gate.opened.set()
                stage.app().result(first_id).get(timeout=self.patience_seconds)

            canceller = stage.app(faults=_JustBefore(happens=end))
            assert not canceller.cancel(first_id), "a task that has succeeded is said to be cancelled"
            assert stage.outcome(handle) == ["next", "run 0"], "what follows a task that has succeeded was cancelled"

    @holds("W28")
    def test_a_cancellation_whose_replies_are_lost_answers_the_same(self) -> None:
        """Within one call, and when the caller tries again."""
        with self.stage() as stage:
            app = stage.app(faults=Faults(every_other=True))
            handle = stage.app().send(chain(call("act", label="first"), call("act", label="second")))
            for attempt in (1, 2):
                assert self._cancel(app, handle), f"call {attempt} says that nothing is cancelled, and all of it is"
            self._check_states(stage, handle)

    def _cancel(self, app: App, handle: Result[Any]) -> bool:
        return app.cancel(*handle._parts)

    def _check_states(self, stage: Stage, handle: Result[Any]) -> None:
        states = [one and one.state for one in stage.records(handle)]
        assert states == [State.CANCELLED] * 2, f"states after a cancellation: {states}"
