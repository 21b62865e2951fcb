"""A delivery in a worker: first a `Run`, and in the end a `RunResult`."""

from __future__ import annotations

import math

from msgspec import Struct

from drivetrain.contract import Delivery, Failure, LimitWait, Plain, State
from drivetrain.worker.limits.place import Place
from drivetrain.worker.lone_starts import LoneStart
from drivetrain.worker.registry import TaskDefinition
from drivetrain.workflow.frames import Frames, Invocation

__all__ = ["Run", "RunRefused", "RunResult", "log_extra"]


class RunRefused(Exception):
    """The run must not begin: its task was cancelled, has expired, or another worker may have taken it over."""


class Run(Struct, kw_only=True, eq=False):
    """An attempt that this worker has started, or is about to."""

    #: Unique for this start of this attempt; the owner of its lease in the backend.
    id: str
    delivery: Delivery
    invocation: Invocation
    definition: TaskDefinition
    #: Unix seconds.
    received_at: float
    #: Since when its task could have begun, in Unix seconds; None: unknown, or its wait has been counted.
    ready_at: float | None = None
    #: Set when the task was cancelled, taken over by another worker, or released while it ran: its result is ignored.
    #: Never unset.
    stopped: bool = False
    #: When its function began to run, by the monotonic clock; None before.
    began: float | None = None
    #: Until when this worker certainly owns it, by the monotonic clock; leases and holds are renewed before.
    owned_until: float = math.inf
    #: It must not begin after this time; Unix seconds. None: it may begin at any time.
    expires_at: float | None = None
    #: Whether it has ended, and is being settled.
    settling: bool = False
    #: The places of concurrency limits that its task holds.
    places: tuple[Place, ...] = ()
    #: The limits for which this attempt has waited.
    limit_waits: tuple[LimitWait, ...] = ()
    #: It must not begin before this instant, by the monotonic clock; None: it may begin at once.
    not_before: float | None = None
    #: How it starts alone, if earlier starts of this attempt never finished; None: it starts with other runs.
    lone: LoneStart | None = None
    #: The ids of the tasks and groups for whose results its function waits at this moment.
    awaits: tuple[str, ...] = ()
    #: What its function wants to continue with: a `drivetrain.worker.context.Replacement`. None: nothing.
    replacement: object = None
    #: The batch with which it runs, a `drivetrain.worker.batches.batch_run.BatchRun`; None: it runs by itself.
    batch: Run | None = None

    @property
    def task_id(self) -> str:
        """The id of its task."""
        return self.invocation.call.id


class RunResult(Struct, frozen=True, kw_only=True):
    """The result of a delivery: the state to record, or the recorded one, and what to do with the message."""

    delivery: Delivery
    invocation: Invocation
    state: State
    #: The run that ended; None if nothing was run.
    run: Run | None = None
    #: The result, plain.
    value: Plain = None
    #: The failure, plain.
    failure: Plain = None
    #: The same as an object, for observers.
    error: Failure | None = None
    #: For RETRY: when the next attempt is due; Unix seconds.
    retry_at: float | None = None
    #: For RETRY: the frames that replace the task; empty: another attempt follows.
    replacement: Frames = ()
    #: For RECEIVED: when the task runs again because it has raised Postpone; Unix seconds. None: it was released.
    postponed_until: float | None = None
    #: Whether the backend has recorded it already.
    recorded: bool = False
    #: Why the message is dead-lettered; None: it is acknowledged.
    dead_reason: str | None = None
    #: Whether the arguments did not fit; a worker with another version of the task may be able to run it.
    mismatch: bool = False
    #: How long the function ran, in seconds.
    run_seconds: float = 0.0

    @property
    def task_id(self) -> str:
        """The id of its task."""
        return self.invocation.call.id

    @property
    def outcome(self) -> State:
        """How the run has ended. One that was replaced has succeeded, though its task has not ended."""
        return State.SUCCESS if self.replacement else self.state


def log_extra(invocation: Invocation) -> dict[str, str]:
    """The ``extra`` of log lines about an invocation: id and name of its task."""
    return {"task_id": invocation.call.id, "task": invocation.call.task}
