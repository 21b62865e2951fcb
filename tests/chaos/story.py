"""What is sent: random workflows, each with the result and the runs that it must have. A seed determines all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from attrs import frozen

from drivetrain.contract import evolve
from drivetrain.workflow.options import Options
from drivetrain.workflow.signature import Chain, Group, Signature, Workflow
from drivetrain_contract_tests.workflows.interpreter import NOTHING, interpret
from drivetrain_contract_tests.workflows.strategies import labelled

__all__ = ["Expected", "Story"]

_TASKS = ("act", "act", "act", "act", "flaky", "fail")
_DELAYS = (None, None, None, None, 0.1, 1.5)
_DEEPEST = 3
#: How long `hold` runs, in seconds.
_HOLD_SECONDS = (0.05, 0.3, 1.0)

#: How long what is cancelled is delayed, in seconds: not due before it is cancelled, and due before the run ends.
_CANCELLED_DELAY_SECONDS = 4.0


@frozen
class Expected:
    """A workflow, and what it must come to."""

    workflow: Workflow[Any]
    #: As the reference interpreter says: nested lists of labels, or FAILED.
    outcome: Any
    #: How many attempts of each label run when nothing goes wrong.
    attempts: Counter[str]
    #: Whether it is cancelled while it is delayed, and so must not run at all.
    cancelled: bool = False


class Story:
    """An endless series of workflows that a seed determines."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._numbers = count(1)

    def next(self) -> Expected:
        """The next workflow."""
        chance = self._random.random()
        if chance < 0.1:
            return self._cancelled()
        return self._held() if chance < 0.4 else self._tree()

    def _label(self) -> str:
        return f"t{next(self._numbers)}"

    def _tree(self) -> Expected:
        workflow = labelled(self._workflow(0), self._label)
        attempts: Counter[str] = Counter()
        outcome = interpret(workflow, NOTHING, attempts)
        return Expected(workflow, outcome, attempts)

    def _held(self) -> Expected:
        label, task = self._label(), self._random.choice(("hold", "hold_async"))
        signature: Signature[Any] = Signature(
            task=task, args=(self._random.choice(_HOLD_SECONDS),), kwargs={"label": label}
        )
        return Expected(signature, [label], Counter({label: 1}))

    def _cancelled(self) -> Expected:
        label = self._label()
        delayed: Signature[Any] = Signature(
            task="act", kwargs={"label": label}, options=Options(delay=_CANCELLED_DELAY_SECONDS)
        )
        return Expected(delayed, None, Counter(), cancelled=True)

    def _workflow(self, depth: int) -> Workflow[Any]:
        make: list[Callable[[int], Workflow[Any]]] = [self._signature]
        if depth < _DEEPEST:
            make += [self._chain, self._group]
        return self._random.choice(make)(depth)

    def _signature(self, _depth: int) -> Signature[Any]:
        signature: Signature[Any] = Signature(
            task=self._random.choice(_TASKS),
            args=(self._random.randrange(10),),
            options=Options(delay=self._random.choice(_DELAYS)),
        )
        if self._random.random() < 0.1:
            caught: Signature[Any] = Signature(task="caught")
            signature = evolve(signature, on_error=(caught,), on_success=(caught,))
        return signature

    def _chain(self, depth: int) -> Chain[Any]:
        return Chain(tuple(self._workflow(depth + 1) for _ in range(self._random.randint(1, 3))))

    def _group(self, depth: int) -> Group[Any]:
        members = tuple(self._workflow(depth + 1) for _ in range(self._random.randint(0, 4)))
        return Group(members, on_member_failure=self._random.choice(("fail", "collect")))
