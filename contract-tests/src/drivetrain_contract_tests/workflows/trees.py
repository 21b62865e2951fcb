"""Random workflows: chains, groups and chords in each other, whose tasks fail, are retried and have callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from drivetrain.contract import evolve
from drivetrain.workflow.signature import Chain, Group, Signature, Workflow

__all__ = ["labelled", "trees"]

_TASKS = ("act", "act", "act", "flaky", "fail", "hopeless")


def trees(leaves: int = 12) -> st.SearchStrategy[Workflow[Any]]:
    """Workflows of at most so many tasks, callbacks apart."""
    return st.recursive(_signatures(), lambda inner: _chains(inner) | _groups(inner), max_leaves=leaves)


def labelled(workflow: Workflow[Any], label: Callable[[], str]) -> Workflow[Any]:
    """The same workflow with a label for every task in it, by which the ledger knows it."""
    if isinstance(workflow, Signature):
        return evolve(
            workflow,
            kwargs={**workflow.kwargs, "label": label()},
            on_success=tuple(labelled(then, label) for then in workflow.on_success),
            on_error=tuple(labelled(then, label) for then in workflow.on_error),
        )
    if isinstance(workflow, Chain):
        return evolve(workflow, parts=tuple(labelled(part, label) for part in workflow.parts))
    assert isinstance(workflow, Group)
    return evolve(workflow, members=tuple(labelled(member, label) for member in workflow.members))


def _signatures() -> st.SearchStrategy[Signature[Any]]:
    callbacks: st.SearchStrategy[tuple[Signature[Any], ...]] = st.sampled_from([(), (Signature(task="caught"),)])
    return st.builds(
        Signature,
        task=st.sampled_from(_TASKS),
        args=st.tuples(st.integers(0, 9)),
        immutable=st.booleans(),
        on_success=callbacks,
        on_error=callbacks,
    )


def _chains(inner: st.SearchStrategy[Workflow[Any]]) -> st.SearchStrategy[Workflow[Any]]:
    return st.lists(inner, min_size=1, max_size=4).map(lambda parts: Chain(tuple(parts)))


def _groups(inner: st.SearchStrategy[Workflow[Any]]) -> st.SearchStrategy[Workflow[Any]]:
    how = st.sampled_from(["fail", "collect"])
    return st.builds(Group, st.lists(inner, max_size=4).map(tuple), on_member_failure=how)
