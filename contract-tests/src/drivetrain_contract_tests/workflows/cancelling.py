"""Clause W24: what a cancellation answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from drivetrain import App, Result, chain
from drivetrain.contract import State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Faults

__all__ = ["CancellationChecks"]


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


class CancellationChecks(WorkflowBase):
    """A cancellation answers what became of the tasks."""

    @holds("W24")
    def test_a_task_that_ends_while_it_is_cancelled_is_not_said_to_be_cancelled(self) -> None:
        """Nor is what follows it cancelled."""
        with self.harness() as harness:
            first_id = f"{harness.namespace}.first"
            first = call("wait", label="w").set(task_id=first_id)
            handle = harness.working().send(chain(first, call("wait", label="next")))
            gate = harness.gates["w 0"]
            assert gate.reached.wait(self.patience_seconds), "the task has not begun"

            def end() -> None:
                gate.opened.set()
                harness.app().result(first_id).get(timeout=self.patience_seconds)

            canceller = harness.app(faults=_JustBefore(happens=end))
            assert not canceller.cancel(first_id), "a task that has succeeded is said to be cancelled"
            harness.gates["next 0"].opened.set()
            assert harness.outcome(handle) == "run 0", "what follows a task that has succeeded was cancelled"

    @holds("W24")
    def test_a_cancellation_whose_replies_are_lost_answers_the_same(self) -> None:
        """Within one call, and when the caller tries again."""
        with self.harness() as harness:
            app = harness.app(faults=Faults(every_other=True))
            handle = harness.app().send(chain(call("act", label="first"), call("act", label="second")))
            for attempt in (1, 2):
                assert self._cancel(app, handle), f"call {attempt} says that nothing is cancelled, and all of it is"
            self._check_states(harness, handle)

    @holds("W24")
    def test_a_cancellation_answers_for_any_of_the_tasks(self) -> None:
        """One has succeeded, another one waits: that one is cancelled, and what follows the first one is not."""
        with self.harness() as harness:
            app = harness.working()
            names = [f"{harness.namespace}.{name}" for name in ("first", "next", "other")]
            first, following, other = [call("act", label=name).set(task_id=name) for name in names]
            _ = app.send(chain(first, following.set(delay=3600.0)))
            app.result(names[0]).get(timeout=self.patience_seconds)
            _ = app.send(other.set(delay=3600.0))
            assert not app.cancel(names[0]), "a task that has succeeded is said to be cancelled"
            answers = [app.cancel(names[0], names[2]), app.cancel(names[2]), app.cancel(names[0], names[2])]
            assert answers == [True] * 3, f"answers when one of the tasks is cancelled: {answers}"
            states = [one and one.state for one in harness.backend.read(names)]
            assert states[0] is State.SUCCESS
            assert states[1] is State.PENDING, "what follows a task that has succeeded was cancelled"
            assert states[2] is State.CANCELLED

    def _cancel(self, app: App, handle: Result[Any]) -> bool:
        return app.cancel(*handle._parts)

    def _check_states(self, harness: AppHarness, handle: Result[Any]) -> None:
        states = [one and one.state for one in harness.records(handle)]
        assert states == [State.CANCELLED] * 2, f"states after a cancellation: {states}"
