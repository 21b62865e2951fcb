"""The reference: ten lines that say what a workflow means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from drivetrain.workflow.signature import Chain, Group, Signature, Workflow

__all__ = ["ATTEMPTS", "FAILED", "NOTHING", "interpret"]

#: What takes the place of a value where something has failed.
FAILED = "failed"
#: What the first task of a workflow is given.
NOTHING = object()
#: How often each task runs, and whether it succeeds in the end; see `drivetrain_contract_tests.workflows.tasks`.
ATTEMPTS = {"act": (1, True), "caught": (1, True), "flaky": (2, True), "fail": (1, False), "hopeless": (3, False)}


def interpret(workflow: Workflow[Any], value: Any, ran: Counter[str]) -> Any:
    """What a labelled workflow results in, or FAILED; the runs of each label are counted in ``ran``."""
    if isinstance(workflow, Signature):
        return _call(workflow, value, ran)
    if isinstance(workflow, Chain):
        for index, part in enumerate(workflow.parts):
            value = interpret(part, value, ran)
            if value is FAILED:
                ran.update(_own_error_callbacks(workflow.parts[index + 1 :]))
                return FAILED
        return value
    assert isinstance(workflow, Group)
    results = [interpret(member, value, ran) for member in workflow.members]
    collects = workflow.on_member_failure == "collect"
    return FAILED if not collects and any(result is FAILED for result in results) else results


def _call(signature: Signature[Any], value: Any, ran: Counter[str]) -> Any:
    attempts, succeeds = ATTEMPTS[signature.task]
    label = signature.kwargs["label"]
    ran[label] += attempts
    ran.update(then.kwargs["label"] for then in _signatures(signature.on_success if succeeds else signature.on_error))
    taken = () if signature.immutable or value is NOTHING else (value,)
    return [label, *taken, *signature.args] if succeeds else FAILED


def _own_error_callbacks(abandoned: Iterable[Workflow[Any]]) -> Iterator[str]:
    """The labels of the error callbacks of tasks that never run because a task before them failed."""
    for workflow in abandoned:
        if isinstance(workflow, Signature):
            yield from (then.kwargs["label"] for then in _signatures(workflow.on_error))
        elif isinstance(workflow, Chain):
            yield from _own_error_callbacks(workflow.parts)
        elif isinstance(workflow, Group):
            yield from _own_error_callbacks(workflow.members)


def _signatures(workflows: tuple[Workflow[Any], ...]) -> list[Signature[Any]]:
    return [one for one in workflows if isinstance(one, Signature)]
