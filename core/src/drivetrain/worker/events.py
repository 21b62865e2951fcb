"""What observers get: the event of an invocation, and the steps of handling deliveries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from drivetrain.contract import Clock, Interruption, Message, State, TaskEvent, evolve
from drivetrain.worker.publisher import ETA_HEADER, PUBLISHED_HEADER, workflow_of
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Observed, Runtime
from drivetrain.workflow.frames import Invocation, given_headers

__all__ = ["event_of", "event_of_run", "notify_interrupted", "notify_step"]


class _OfTask(Protocol):
    @property
    def task_id(self) -> str: ...


def event_of(
    invocation: Invocation,
    worker: str,
    message: Message | None = None,
    *,
    received_at: float | None = None,
    started_at: float | None = None,
    state: State | None = None,
) -> TaskEvent:
    """The event that plugins get for an invocation.

    Args:
        invocation: the invocation.
        worker: the name of the worker; empty in a sender.
        message: the message that carried the invocation; None: none has.
        received_at: see `TaskEvent.received_at`.
        started_at: see `TaskEvent.started_at`.
        state: see `TaskEvent.state`.
    """
    call = invocation.call
    return TaskEvent(
        task_id=call.id,
        task=call.task,
        attempt=invocation.attempt,
        queue=call.queue,
        headers=given_headers(call),
        worker=worker,
        workflow="" if message is None else workflow_of(message),
        published_at=_time(message, PUBLISHED_HEADER),
        due_at=_time(message, ETA_HEADER),
        received_at=received_at,
        started_at=started_at,
        state=state,
    )


def event_of_run(
    run: Run, worker: str, clock: Clock, *, state: State | None = None, run_seconds: float | None = None
) -> TaskEvent:
    """The event that plugins get for a run.

    Args:
        run: the run.
        worker: the name of the worker.
        clock: the clock of the worker.
        state: what became of the run; None: it has not ended.
        run_seconds: how long its function ran, in seconds; None: it has not ended.
    """
    began = None if run.began is None else clock.now() - (clock.monotonic() - run.began)
    event = event_of(
        run.invocation, worker, run.delivery.message, received_at=run.received_at, started_at=began, state=state
    )
    return event if began is None or run_seconds is None else evolve(event, ended_at=began + run_seconds)


def _time(message: Message | None, header: str) -> float | None:
    """The time in a header; None where there is none. Another program may have written anything into it."""
    text = None if message is None else message.headers.get(header)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def notify_interrupted(runtime: Runtime, worker: str, run: Run, reason: Interruption) -> None:
    """Notify observers of a run that ends without a result of its own; see the hook ``run_interrupted``.

    Args:
        runtime: the observers and the clock.
        worker: the name of the worker.
        run: the run.
        reason: why it ends.
    """
    if runtime.observers.watches("run_interrupted"):
        event = event_of_run(run, worker, runtime.clock)
        runtime.observers.notify("run_interrupted", event=event, reason=reason)


def notify_step(observers: Observed, step: str, done: Sequence[_OfTask]) -> None:
    """Notify observers of a step of handling deliveries, if there is any delivery; see the hook ``worker_step``."""
    if done and observers.watches("worker_step"):
        observers.notify("worker_step", step=step, task_ids=[one.task_id for one in done])
