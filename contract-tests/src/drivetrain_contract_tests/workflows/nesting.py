"""Clauses W26 and W27: how deep workflows and values may be nested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from drivetrain import InvalidArguments, InvalidSignature, TaskFailed, chain, chord, group
from drivetrain.contract import evolve
from drivetrain.workflow.signature import Signature, Workflow
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import QUEUE, call
from drivetrain_contract_tests.workflows.base import WorkflowBase

__all__ = ["NestingChecks"]

#: How deep a workflow, and a value, may be nested.
_LEVELS = 100

_Workflow = Workflow[Any]


def _act(label: str) -> Signature[Any]:
    """A task whose value does not hold those of the tasks before it, so that values stay flat."""
    return evolve(call("act", label=label), immutable=True)


def _nested(levels: int, outer: Callable[[_Workflow, int], _Workflow]) -> _Workflow:
    workflow: _Workflow = _act("innermost")
    for level in range(levels):
        workflow = outer(workflow, level)
    return workflow


def _groups(workflow: _Workflow, _level: int) -> _Workflow:
    return group([workflow])


def _chords(workflow: _Workflow, level: int) -> _Workflow:
    return chord([workflow], _act(f"body {level}"))


def _late_groups(workflow: _Workflow, level: int) -> _Workflow:
    return chain(_act(f"before {level}"), group([workflow]))


def _callbacks(workflow: _Workflow, level: int) -> _Workflow:
    return _act(f"called {level}").set(on_success=[workflow])


#: Each way to nest, with the names of the tasks that one level adds.
_WAYS: dict[str, tuple[Callable[[_Workflow, int], _Workflow], str]] = {
    "groups": (_groups, ""),
    "chords": (_chords, "body"),
    "groups after a task": (_late_groups, "before"),
    "callbacks": (_callbacks, "called"),
}


def _value(levels: int) -> Any:
    value: Any = "innermost"
    for level in range(levels):
        value = [value] if level % 2 else {"held": value}
    return value


class NestingChecks(WorkflowBase):
    """What is nested as deeply as allowed runs and arrives; what is nested deeper is refused when it is sent."""

    @holds("W26")
    def test_a_workflow_that_is_nested_as_deeply_as_allowed_runs(self) -> None:
        """Every task of it, once; and every handle ends."""
        for name in _WAYS:
            self._play(name)

    def _play(self, name: str) -> None:
        outer, added = _WAYS[name]
        with self.harness() as harness:
            app = harness.working()
            handle = app.send(_nested(_LEVELS, outer))
            expected = Counter(
                {"innermost": 1, **({f"{added} {level}": 1 for level in range(_LEVELS)} if added else {})}
            )
            harness.run_log.wait_for(lambda ran: not expected - ran, self.patience_seconds)
            assert not harness.unfinished(handle), f"{name}: parts of a workflow that is nested deeply do not end"
            harness.quiet()
            self.check_ran(harness, expected)

    @holds("W26")
    def test_a_workflow_that_is_nested_deeper_is_refused(self) -> None:
        """By its sender, with the limit; and nothing of it is sent."""
        for name, (outer, _) in _WAYS.items():
            for levels in (_LEVELS + 1, 2000):
                with self.harness() as harness:
                    with pytest.raises(InvalidSignature, match=f"{_LEVELS} levels"):
                        _ = harness.app().send(_nested(levels, outer))
                    assert not harness.run_log.messages, f"{name}: what was refused was published"
                    assert not harness.broker.sizes([QUEUE])[QUEUE].ready

    @holds("W27")
    def test_a_value_that_is_nested_as_deeply_as_allowed_arrives(self) -> None:
        """As an argument, as a result, and in the failure of its task."""
        value = _value(_LEVELS - 1)
        with self.harness() as harness:
            app = harness.working()
            outcome = harness.outcome(app.send(call("act", value, label="deep")))
            assert outcome == ["deep", value], "a value that is nested deeply arrives otherwise than it was sent"
            with pytest.raises(TaskFailed, match="as it should"):
                app.send(call("fail", _value(_LEVELS), label="fails")).get(timeout=self.patience_seconds)

    @holds("W27")
    def test_a_value_that_is_nested_deeper_is_refused(self) -> None:
        """An argument when it is sent; a result by the failure of its task, which says so."""
        with self.harness() as harness:
            app = harness.working()
            for levels in (_LEVELS + 1, 5000):
                with pytest.raises(InvalidArguments, match=f"nested less deeply \\({_LEVELS} levels"):
                    _ = app.send(call("act", _value(levels), label="refused"))
            with pytest.raises(TaskFailed, match="nested less deeply"):
                app.send(call("act", _value(_LEVELS), label="too deep")).get(timeout=self.patience_seconds)
            assert [run.label for run in harness.run_log.runs] == ["too deep"]
