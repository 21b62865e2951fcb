"""What observers get: the event of an invocation, and the steps of handling deliveries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from drivetrain.contract import Clock, Interruption, LimitWait, Message, State, TaskEvent
from drivetrain.worker.publisher import ETA_HEADER, PUBLISHED_HEADER
from drivetrain.worker.run import Run
from drivetrain.worker.runtime import Observed, Runtime
from drivetrain.workflow.frames import WORKFLOW_HEADER, Invocation, given_headers

__all__ = ["event_of", "event_of_run", "notify_interrupted", "notify_step"]


_NONE: Mapping[str, str] = MappingProxyType({})


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
    ended_at: float | None = None,
    limit_waits: Sequence[LimitWait] = (),
    state: State | None = None,
) -> TaskEvent:
    """The event that plugins get for an invocation.

    Args:
        invocation: the invocation.
        worker: the name of the worker; empty in a sender.
        message: the message that carried the invocation; None: none has.
        received_at: see `TaskEvent.received_at`.
        started_at: see `TaskEvent.started_at`.
        ended_at: see `TaskEvent.ended_at`.
        limit_waits: see `TaskEvent.limit_waits`.
        state: see `TaskEvent.state`.
    """
    call = invocation.call
    headers = _NONE if message is None else message.headers
    published, due = headers.get(PUBLISHED_HEADER), headers.get(ETA_HEADER)
    return TaskEvent(
        task_id=call.id,
        task=call.task,
        attempt=invocation.attempt,
        queue=call.queue,
        headers=given_headers(call) if call.headers else _NONE,
        worker=worker,
        workflow=headers.get(WORKFLOW_HEADER, ""),
        published_at=None if published is None else _time(published),
        due_at=None if due is None else _time(due),
        received_at=received_at,
        started_at=started_at,
        ended_at=ended_at,
        limit_waits=limit_waits,
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
    return event_of(
        run.invocation,
        worker,
        run.delivery.message,
        received_at=run.received_at,
        started_at=began,
        ended_at=None if began is None or run_seconds is None else began + run_seconds,
        limit_waits=run.limit_waits,
        state=state,
    )


def _time(text: str) -> float | None:
    """The time in a header; None where it is none. Another program may have written anything into it."""
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
