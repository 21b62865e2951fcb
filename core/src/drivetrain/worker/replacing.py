"""Replacing a task that has run by a workflow: plans it, and makes the effects that send it.

The task keeps its id, its record and what follows it. Its record enters RETRY with the planned workflow in it, so that
after a crash the next worker sends the same tasks. The task itself is a frame behind that workflow. When the workflow
has succeeded, the task ends with its value; see `drivetrain.workflow.advance.Return`.
"""

from __future__ import annotations

from uuid import uuid4

from msgspec.structs import replace

from drivetrain.contract import InvalidSignature, NotSupported, evolve
from drivetrain.worker.context import Replacement
from drivetrain.worker.events import event_of
from drivetrain.worker.publisher import workflow_of
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Effect, Resumed, advance
from drivetrain.workflow.amending import amend_calls
from drivetrain.workflow.frames import TICK_HEADER, Call, Fork, Frame, Frames, Invocation, ids, steps
from drivetrain.workflow.plan import plan

__all__ = ["plan_replacement", "replacement_effects", "workflow_around"]


def plan_replacement(runtime: Runtime, run: Run, value: object) -> Frames:
    """The frames that replace the task of ``run``, whose function has asked for that and returned ``value``.

    Raises:
        InvalidSignature: the function has not returned the replacement, or it cannot be sent as written.
        NotSupported: the broker or the backend lacks what it needs.
    """
    wanted = run.replacement
    if not isinstance(wanted, Replacement) or value is not wanted:
        raise InvalidSignature(
            f"task {run.invocation.call.task} has called current_task().replace(…) and returned something else; "
            "write return current_task().replace(…)"
        )
    frames = plan(wanted.workflow, runtime.registry, lambda: uuid4().hex)
    _check(runtime, run, frames)
    return _inheriting(runtime, run, frames)


def replacement_effects(result: RunResult) -> tuple[Effect, ...]:
    """The effects that send the replacement of a task. Pure."""
    call = replace(result.invocation.call, args=(), kwargs={}, replaced=True)
    frames = (*result.replacement, call, *result.invocation.frames)
    return advance(frames, Resumed(after=call.id), workflow=workflow_around(result))


def workflow_around(result: RunResult) -> str:
    """The id of the first task or group of the workflow that a replaced task belongs to: its own, if it is alone."""
    return workflow_of(result.delivery.message) or result.task_id


def _check(runtime: Runtime, run: Run, frames: Frames) -> None:
    levels, stores = runtime.broker.capabilities.priority_levels, runtime.backend.capabilities.stores
    for step in steps(frames):
        if isinstance(step, Fork):
            if not stores:
                raise NotSupported(
                    "groups and chords need a backend that stores results, and this app's backend is null://"
                )
            continue
        definition = runtime.registry.get(step.task)
        if definition is not None and definition.unique is not None:
            raise InvalidSignature(
                f"task {step.task} is unique, so it cannot replace task {run.invocation.call.task}; send it instead"
            )
        if step.priority >= levels:
            raise NotSupported(
                f"task {step.task} has priority {step.priority}, and this app's broker knows 0 to {levels - 1}"
            )
    if run.task_id in ids(frames):
        raise InvalidSignature(f"the id {run.task_id!r} is that of the replaced task; leave task_id out")


def _inheriting(runtime: Runtime, run: Run, frames: Frames) -> Frames:
    """The frames with what the replaced task passes on: its tick, and the error callbacks around it."""
    call, acting = run.invocation.call, runtime.acting
    workflow = workflow_of(run.delivery.message) or call.id
    inherited = {TICK_HEADER: call.headers[TICK_HEADER]} if TICK_HEADER in call.headers else {}

    def amend(one: Call) -> Call:
        headers = {**one.headers, **inherited}
        if acting.adds_headers:
            event = event_of(Invocation(call=replace(one, headers=headers)), "")
            headers = dict(acting.headers(evolve(event, workflow=workflow))) or headers
        return replace(one, headers=headers) if headers else one

    frames = amend_calls(frames, amend)
    return _with_error_callbacks(frames, call.workflow_on_error) if call.workflow_on_error else frames


def _with_error_callbacks(frames: Frames, callbacks: tuple[Frames, ...]) -> Frames:
    changed: list[Frame] = []
    for frame in frames:
        if isinstance(frame, Call):
            changed.append(replace(frame, workflow_on_error=(*frame.workflow_on_error, *callbacks)))
        elif isinstance(frame, Fork):
            branches = tuple(_with_error_callbacks(branch, callbacks) for branch in frame.branches)
            changed.append(replace(frame, branches=branches))
        else:
            changed.append(frame)
    return tuple(changed)
