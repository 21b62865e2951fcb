"""Random workflows: chains, groups and chords in each other, whose tasks fail, are retried and have callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from drivetrain.contract import evolve
from drivetrain.workflow.options import Options
from drivetrain.workflow.signature import Chain, Group, Signature, Workflow

__all__ = ["KNOWN", "labelled", "trees"]

_TASKS = ("act", "act", "act", "flaky", "fail", "hopeless")
#: Seconds after which a task is due; mostly none.
_DELAYS = (None,) * 7 + (0.05,)

_ONE: Signature[Any] = Signature(task="act", args=(1,))
_FAILS: Signature[Any] = Signature(task="fail")
_CAUGHT: tuple[Signature[Any], ...] = (Signature(task="caught"),)

#: What is tried whatever the seed is: every kind of step, and every way in which values, failures and groups meet.
KNOWN: tuple[Workflow[Any], ...] = (
    Chain((_ONE, Group((_ONE, evolve(_ONE, args=(2,)), evolve(_ONE, args=(3,)))), Signature(task="flaky"))),
    Group((_ONE, _FAILS, Signature(task="hopeless")), on_member_failure="collect"),
    Chain((Group((evolve(_FAILS, on_error=_CAUGHT), evolve(_ONE, on_success=_CAUGHT))), _ONE)),
    Group((Group((_ONE, _ONE)), Chain((_ONE, Group((_ONE, _ONE)), evolve(_ONE, immutable=True))))),
    Chain((Group(()), _ONE)),
    Chain((Group((_FAILS, _ONE, _FAILS)), evolve(_ONE, on_error=_CAUGHT), Group((evolve(_ONE, on_error=_CAUGHT),)))),
)


def trees(leaves: int = 12) -> st.SearchStrategy[Workflow[Any]]:
    """Workflows of at most ``size`` tasks, callbacks apart."""
    return st.recursive(_signatures(), lambda inner: _chains(inner) | _groups(inner), max_leaves=leaves)


def labelled(workflow: Workflow[Any], label: Callable[[], str]) -> Workflow[Any]:
    """The same workflow with a label for every task in it, by which the run_log knows it."""
    if isinstance(workflow, Signature):
        return evolve(
            workflow,
            kwargs={**workflow.kwargs, "label": label()},
            on_success=_all_labelled(workflow.on_success, label),
            on_error=_all_labelled(workflow.on_error, label),
        )
    if isinstance(workflow, Chain):
        return evolve(workflow, parts=_all_labelled(workflow.parts, label))
    assert isinstance(workflow, Group)
    return evolve(workflow, members=_all_labelled(workflow.members, label))


def _all_labelled(workflows: Iterable[Workflow[Any]], label: Callable[[], str]) -> tuple[Workflow[Any], ...]:
    return tuple(labelled(each, label) for each in workflows)


_callbacks: st.SearchStrategy[tuple[Signature[Any], ...]] = st.sampled_from([(), _CAUGHT])


def _signatures() -> st.SearchStrategy[Signature[Any]]:
    return st.builds(
        Signature,
        task=st.sampled_from(_TASKS),
        args=st.tuples(st.integers(0, 9)),
        immutable=st.booleans(),
        options=st.builds(Options, delay=st.sampled_from(_DELAYS)),
        on_success=_callbacks,
        on_error=_callbacks,
    )


def _chains(inner: st.SearchStrategy[Workflow[Any]]) -> st.SearchStrategy[Workflow[Any]]:
    return st.lists(inner, min_size=1, max_size=4).map(lambda parts: Chain(tuple(parts)))


def _groups(inner: st.SearchStrategy[Workflow[Any]]) -> st.SearchStrategy[Workflow[Any]]:
    how = st.sampled_from(["fail", "collect"])
    return st.builds(Group, st.lists(inner, max_size=4).map(tuple), on_member_failure=how)
