"""Small workflows that hold every kind of step; the reference says what they give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from drivetrain.contract import evolve
from drivetrain.workflow.composition import chain, chord, group
from drivetrain.workflow.signature import Signature, Workflow
from drivetrain_contract_tests.workflows.app_harness import AppHarness
from drivetrain_contract_tests.workflows.interpreter import NOTHING, interpret
from drivetrain_contract_tests.workflows.strategies import labelled

__all__ = ["STORIES", "Story", "story_of"]


@frozen
class Story:
    """A workflow with labels, and what it means."""

    workflow: Workflow[Any]
    result: Any
    ran: Counter[str]


def story_of(harness: AppHarness, workflow: Workflow[Any]) -> Story:
    """The story of a workflow on a harness."""
    known = labelled(workflow, harness.label)
    ran: Counter[str] = Counter()
    return Story(known, interpret(known, NOTHING, ran), ran)


def _act(*args: Any) -> Signature[Any]:
    return Signature(task="act", args=args)


_CAUGHT: tuple[Signature[Any], ...] = (Signature(task="caught"),)

STORIES: Mapping[str, Workflow[Any]] = {
    "a chain with a retry": chain(_act(1), Signature(task="flaky"), _act(2)),
    "a chord in a chain": chain(_act(1), group(_act(2), _act(3), _act(4)), _act(5), _act(6)),
    "a chord that fails": chord(
        group(evolve(Signature(task="fail"), on_error=_CAUGHT), evolve(_act(2), on_success=_CAUGHT)), _act(3)
    ),
    "groups in a group": group(group(_act(1), _act(2)), chain(_act(3), group(_act(4), _act(5)), _act(6))),
}
