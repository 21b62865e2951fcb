"""Announcing: records each task that waits for another one, so that it is known before it is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drivetrain.contract import State, Transition
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Effect, Open, Publish, preceding
from drivetrain.workflow.frames import Call, Fork, Frames, steps

__all__ = ["announce"]


def announce(runtime: Runtime, retrier: Retrier, effects: Iterable[Effect]) -> None:
    """Record every task that waits for another one as PENDING.

    With two ids: of the task or group whose record lists the waiting tasks, and of its direct predecessor.
    """
    now, dump = runtime.clock.now(), runtime.payloads.dump
    waiting = [
        Transition(
            task_id=task_id,
            state=State.PENDING,
            at=now,
            task=task,
            queue=queue,
            workflow=workflow,
            parent=earlier[task_id],
            downstream=dump({"in": first, "after": earlier[task_id]}),
        )
        for first, frames, workflow in _waiting(effects)
        for earlier in [preceding(frames, first)]
        for task_id, task, queue in map(_described, steps(frames))
    ]
    if waiting:
        retrier.call("record", lambda: runtime.backend.record(waiting))


def _waiting(effects: Iterable[Effect]) -> Iterator[tuple[str, Frames, str]]:
    """What waits for each published task and opened group: the id of that, the frames, and their workflow."""
    for effect in effects:
        if isinstance(effect, Publish):
            if effect.invocation.frames:
                yield effect.invocation.call.id, effect.invocation.frames, effect.workflow
        elif isinstance(effect, Open):
            yield effect.group_id, effect.continuation, effect.workflow


def _described(step: Call | Fork) -> tuple[str, str, str]:
    """The id of a task or group, its name and its queue."""
    return (step.id, step.task, step.queue) if isinstance(step, Call) else (step.group_id, GROUP_TASK, "")
