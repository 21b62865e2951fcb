"""What observers get: the event of an invocation, a copy of its failure, and the steps of handling deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Protocol

from drivetrain.contract import Failure, TaskEvent, evolve
from drivetrain.worker.runtime import Observed
from drivetrain.workflow.frames import Invocation

__all__ = ["event_of", "notify_step", "shown_failure"]


class _OfTask(Protocol):
    @property
    def task_id(self) -> str: ...


def event_of(invocation: Invocation, worker: str) -> TaskEvent:
    """The event that observers get for an invocation."""
    call = invocation.call
    return TaskEvent(
        task_id=call.id,
        task=call.task,
        attempt=invocation.attempt,
        queue=call.queue,
        headers=MappingProxyType(call.headers),
        worker=worker,
    )


def shown_failure(failure: Failure) -> Failure:
    """The failure that observers get: a copy, so that they cannot change the arguments of the next attempt."""
    return evolve(failure, args=deepcopy(failure.args), kwargs=MappingProxyType(deepcopy(failure.kwargs)))


def notify_step(observers: Observed, step: str, done: Sequence[_OfTask]) -> None:
    """Notify observers of a step of handling deliveries, if there is any delivery; see the hook ``worker_step``."""
    if done and observers.watches("worker_step"):
        observers.notify("worker_step", step=step, task_ids=[one.task_id for one in done])
