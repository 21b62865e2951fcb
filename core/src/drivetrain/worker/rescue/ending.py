"""Ends lost tasks, and continues groups that did not continue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from drivetrain.contract import (
    Failure,
    GroupProgress,
    Member,
    Outcome,
    Plain,
    SerializationError,
    ServiceError,
    State,
    Transition,
    evolve,
)
from drivetrain.worker.downstream import downstream
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import event_of
from drivetrain.worker.logs import get_logger
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.rescue.message_search import Finding
from drivetrain.worker.rescue.overdue import Overdue, state_version
from drivetrain.worker.rescue.searching import Found
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.advance import Complete, Failed, advance
from drivetrain.workflow.frames import Call, Invocation, Join

__all__ = ["LostTaskEnder"]

logger = get_logger("drivetrain.rescue")


class LostTaskEnder:
    """Ends tasks whose message is gone. Several may work at once; each is used by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        worker: str,
        lease_seconds: float,
        retrier: Retrier,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            worker: the worker name that is recorded with the tasks that it ends.
            lease_seconds: how long workers cannot start a task that it is ending, in seconds.
            retrier: retries while a service is unavailable.
            stopped: whether to end no more tasks.
        """
        self._runtime = runtime
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._retrier = retrier
        self._stopped = stopped
        self._effect_runner = EffectRunner(runtime, Publisher(runtime, retrier, worker=True), retrier, worker=worker)

    def end(self, found: Sequence[Found]) -> Sequence[Found]:
        """End tasks and all tasks that depend on them; continue groups whose members have ended. What was done.

        Tasks whose message was found, and tasks that have continued since, are not changed.
        """
        return [self._end(one) for one in found if not self._stopped()]

    def _end(self, found: Found) -> Found:
        record = found.overdue.record
        if found.finding is Finding.FOUND:
            return evolve(found, reason="its message is in a queue")
        try:
            done = self._resume(found.overdue) if found.overdue.group is not None else self._end_as_lost(found)
        except GaveUp:
            raise
        except (ServiceError, SerializationError) as error:
            logger.exception("task %s is overdue and cannot be ended", record.task_id, extra=_extra(found.overdue))
            return evolve(found, reason=f"it cannot be ended: {error}")
        return evolve(found, reason="" if done else "it has continued meanwhile", done=done)

    # Groups

    def _resume(self, one: Overdue) -> str:
        """Continue a group as the worker of its last member should have done. Harmless if that worker is only slow."""
        group = one.group
        if group is None:
            raise AssertionError(f"{one.record.task_id} is not a group")
        member = Member(group.group_id, 0)
        progress = GroupProgress(size=group.size, done=group.done, failed=group.failed)
        failure = self._failure(one, "a member failed, and its worker stopped before it continued the group")
        join = Join(member.group_id, member.index)
        complete = Complete(join, None, self._encoded(failure), State.FAILURE, one.record.workflow)
        logger.warning("group %s is complete but did not continue; continuing it", group.group_id, extra=_extra(one))
        self._effect_runner.perform([complete], {member: progress})
        return "resumed"

    # Tasks

    def _end_as_lost(self, found: Found) -> str:
        """End a task as a worker ends a run: record a start, perform what follows, record the end.

        The start is granted only if no worker runs the task. A worker that receives its message after all has to wait.
        The end is recorded last, so that after a crash the next rescue ends the task.
        """
        one, record = found.overdue, found.overdue.record
        run, attempt = f"rescue.{uuid4().hex}", record.attempt + (record.state is State.RETRY)
        invocation = self._invocation(one, attempt)
        outcome = self._record(one, run, attempt, State.STARTED, lease=self._lease_seconds)
        before = outcome.before
        if not outcome.applied or before is None:
            return ""
        # The same run: the first answer was lost, and the start was requested again.
        if before.run != run and state_version(before) != state_version(record):
            self._record(one, run, attempt, State.RECEIVED)  # release it: it has started since, so it is not lost
            return ""
        failure = self._failure(one, _text(found))
        plain = self._encoded(failure)
        event = Failed(plain, invocation.call)
        self._effect_runner.perform(advance(invocation.frames, event, workflow=record.workflow))
        payload = self._runtime.payloads.dump(plain)
        self._record(
            one, run, attempt, State.FAILURE, payload=payload, retention=self._runtime.record_retention_seconds(None)
        )
        logger.warning("task %s is lost: %s", record.task_id, failure.message, extra=log_extra(invocation))
        self._notify(invocation, failure, record.workflow)
        return "ended"

    def _record(self, one: Overdue, run: str, attempt: int, state: State, **fields: Any) -> Outcome:
        now = self._runtime.clock.now()
        transition = Transition(
            task_id=one.record.task_id, state=state, attempt=attempt, at=now, worker=self._worker, run=run, **fields
        )
        (outcome,) = self._retrier.call("record", lambda: self._runtime.backend.record([transition]))
        return outcome

    def _invocation(self, one: Overdue, attempt: int) -> Invocation:
        """The invocation of its message, as far as it is recorded: arguments and headers are not."""
        runtime, record = self._runtime, one.record
        read = runtime.backend.read
        (frames,) = downstream(
            [record],
            runtime.payloads,
            lambda ids: self._retrier.call("read", lambda: read(ids)),
            self._effect_runner.long_chains.load_bodies,
        )
        callbacks = one.unfinished.callbacks()
        call = Call(id=record.task_id, task=record.task, queue=one.queue, on_error=callbacks)
        return Invocation(call=call, frames=frames, attempt=attempt)

    def _failure(self, one: Overdue, text: str) -> Failure:
        record = one.record
        return Failure(
            type="drivetrain.ResultLost",
            message=text,
            task=record.task,
            task_id=record.task_id,
            attempt=record.attempt + (record.state is State.RETRY),
        )

    def _encoded(self, failure: Failure) -> Plain:
        return self._runtime.registry.codec.encode(failure)

    def _notify(self, invocation: Invocation, failure: Failure, workflow: str) -> None:
        if self._runtime.observers.watches("task_failed"):
            event = evolve(event_of(invocation, self._worker, state=State.FAILURE), workflow=workflow)
            self._runtime.observers.notify("task_failed", event=event, failure=failure)


def _text(found: Found) -> str:
    one = found.overdue
    if found.finding is Finding.UNCLEAR:
        return "an operator has ended it as lost"
    if one.message_id is None:
        return "the backend no longer has the group"
    since = datetime.fromtimestamp(one.since, UTC).isoformat(timespec="seconds")
    whose = "its message" if one.message_id == one.record.task_id else f"the message of task {one.message_id} before it"
    return f"{whose} is gone: it was due at {since}, and is in no queue of the broker"


def _extra(one: Overdue) -> dict[str, str]:
    return {"task_id": one.record.task_id, "task": one.record.task}
